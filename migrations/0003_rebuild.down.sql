ALTER TABLE pending_uploads
  DROP COLUMN attached_at,
  DROP COLUMN activity_seq,
  DROP COLUMN body_offset;

ALTER TABLE activity_logs
  DROP COLUMN message_digest,
  DROP COLUMN hidden,
  DROP COLUMN own;
