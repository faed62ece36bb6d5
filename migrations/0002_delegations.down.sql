DROP INDEX structure_events_delegations;
DROP TABLE delegations;
