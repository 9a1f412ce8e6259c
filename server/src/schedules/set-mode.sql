-- Set the kind of scheduler of this database to $1. Brokers are told by the table's trigger.
UPDATE reproq_scheduler SET mode = $1, leader_id = NULL, leader_since = NULL, leader_until = NULL WHERE mode <> $1
