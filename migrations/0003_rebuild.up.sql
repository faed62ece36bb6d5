-- What a rebuild of a workspace's object needs to know of its rows, beside what operators read: whether a row of the
-- feed is mail and on show, how a repeated message is recognised, and where a file lies in its body.

ALTER TABLE activity_logs
  ADD COLUMN own boolean,
  ADD COLUMN hidden boolean,
  ADD COLUMN message_digest text;

ALTER TABLE pending_uploads
  ADD COLUMN body_offset bigint,
  ADD COLUMN activity_seq bigint,
  ADD COLUMN attached_at timestamptz;
