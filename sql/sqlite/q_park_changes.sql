-- The changes of list ?1 (see src/core/park.h) in their order. The columns are those from ?4 on of the statements that do them.
SELECT value ->> 'position', value ->> 'key', value ->> 'state', value ->> 'attempts', value ->> 'wait_ms', value ->> 'passed',
       value ->> 'error', value ->> 'act'
  FROM json_each(?1)
