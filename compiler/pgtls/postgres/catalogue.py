"""Every setting of postgresql.conf by version. ``tests/support/catalogue.py`` writes it from real servers.

A line: name, first and last version (open: it is still there), context, kind, then of a number ``least..most`` and its
unit, of an enumeration its values and, after ``||``, those that PostgreSQL takes and does not list. A boolean that takes one
value alone is followed by it.
"""

from __future__ import annotations

CATALOGUE = """\
allow_alter_system 17- sighup bool
allow_in_place_tablespaces 13- superuser bool
allow_system_table_mods 13- superuser bool
application_name 13- user string
archive_cleanup_command 13- sighup string
archive_command 13- sighup string
archive_library 15- sighup string
archive_mode 13- postmaster enum always|on|off||true|false|yes|no|1|0
archive_timeout 13- sighup integer 0..1073741823 s
array_nulls 13- user bool
authentication_timeout 13- sighup integer 1..600 s
autovacuum 13- sighup bool
autovacuum_analyze_scale_factor 13- sighup real 0..100
autovacuum_analyze_score_weight 19- sighup real 0..10
autovacuum_analyze_threshold 13- sighup integer 0..2147483647
autovacuum_freeze_max_age 13- postmaster integer 100000..2000000000
autovacuum_freeze_score_weight 19- sighup real 0..10
autovacuum_max_parallel_workers 19- sighup integer 0..1024
autovacuum_max_workers 13-17 postmaster integer 1..262143
autovacuum_max_workers 18- sighup integer 1..262143
autovacuum_multixact_freeze_max_age 13- postmaster integer 10000..2000000000
autovacuum_multixact_freeze_score_weight 19- sighup real 0..10
autovacuum_naptime 13- sighup integer 1..2147483 s
autovacuum_vacuum_cost_delay 13- sighup real -1..100 ms
autovacuum_vacuum_cost_limit 13- sighup integer -1..10000
autovacuum_vacuum_insert_scale_factor 13- sighup real 0..100
autovacuum_vacuum_insert_score_weight 19- sighup real 0..10
autovacuum_vacuum_insert_threshold 13- sighup integer -1..2147483647
autovacuum_vacuum_max_threshold 18- sighup integer -1..2147483647
autovacuum_vacuum_scale_factor 13- sighup real 0..100
autovacuum_vacuum_score_weight 19- sighup real 0..10
autovacuum_vacuum_threshold 13- sighup integer 0..2147483647
autovacuum_work_mem 13- sighup integer -1..2147483647 kB
autovacuum_worker_slots 18- postmaster integer 1..262143
backend_flush_after 13- user integer 0..256 8kB
backslash_quote 13- user enum safe_encoding|on|off||true|false|yes|no|1|0
backtrace_functions 13- superuser string
bgwriter_delay 13- sighup integer 10..10000 ms
bgwriter_flush_after 13- sighup integer 0..256 8kB
bgwriter_lru_maxpages 13- sighup integer 0..1073741823
bgwriter_lru_multiplier 13- sighup real 0..10
block_size 13- internal integer
bonjour 13- postmaster bool
bonjour_name 13- postmaster string
bytea_output 13- user enum escape|hex
check_function_bodies 13- user bool
checkpoint_completion_target 13- sighup real 0..1
checkpoint_flush_after 13- sighup integer 0..256 8kB
checkpoint_timeout 13- sighup integer 30..86400 s
checkpoint_warning 13- sighup integer 0..2147483647 s
client_connection_check_interval 14- user integer 0..2147483647 ms
client_encoding 13- user string
client_min_messages 13- user enum debug5|debug4|debug3|debug2|debug1|log|notice|warning|error||debug|info
cluster_name 13- postmaster string
commit_delay 13- superuser integer 0..100000
commit_siblings 13- user integer 0..1000
commit_timestamp_buffers 17- postmaster integer 0..131072 8kB
compute_query_id 14- superuser enum auto|regress|on|off||true|false|yes|no|1|0
config_file 13- postmaster string
constraint_exclusion 13- user enum partition|on|off||true|false|yes|no|1|0
cpu_index_tuple_cost 13- user real 0..1.79769e+308
cpu_operator_cost 13- user real 0..1.79769e+308
cpu_tuple_cost 13- user real 0..1.79769e+308
createrole_self_grant 16- user string
cursor_tuple_fraction 13- user real 0..1
data_checksums 13- internal bool
data_directory 13- postmaster string
data_directory_mode 13- internal integer
data_sync_retry 13- postmaster bool
DateStyle 13- user string
db_user_namespace 13-16 sighup bool
deadlock_timeout 13- superuser integer 1..2147483647 ms
debug_assertions 13- internal bool
debug_discard_caches 14- superuser integer 0..0
debug_exec_backend 19- internal bool
debug_io_direct 16- postmaster string
debug_logical_replication_streaming 16- user enum buffered|immediate
debug_parallel_query 16- user enum off|on|regress||true|false|yes|no|1|0
debug_pretty_print 13- user bool
debug_print_parse 13- user bool
debug_print_plan 13- user bool
debug_print_raw_parse 19- user bool
debug_print_rewritten 13- user bool
default_statistics_target 13- user integer 1..10000
default_table_access_method 13- user string
default_tablespace 13- user string
default_text_search_config 13- user string
default_toast_compression 14- user enum pglz|lz4
default_transaction_deferrable 13- user bool
default_transaction_isolation 13- user enum serializable|repeatable read|read committed|read uncommitted
default_transaction_read_only 13- user bool
default_with_oids 13- user bool off
dynamic_library_path 13- superuser string
dynamic_shared_memory_type 13- postmaster enum posix|sysv|windows|mmap
effective_cache_size 13- user integer 1..2147483647 8kB
effective_io_concurrency 13- user integer 0..1000
effective_wal_level 19- internal enum
enable_async_append 14- user bool
enable_bitmapscan 13- user bool
enable_distinct_reordering 18- user bool
enable_eager_aggregate 19- user bool
enable_gathermerge 13- user bool
enable_group_by_reordering 17- user bool
enable_hashagg 13- user bool
enable_hashjoin 13- user bool
enable_incremental_sort 13- user bool
enable_indexonlyscan 13- user bool
enable_indexscan 13- user bool
enable_material 13- user bool
enable_memoize 14- user bool
enable_mergejoin 13- user bool
enable_nestloop 13- user bool
enable_parallel_append 13- user bool
enable_parallel_hash 13- user bool
enable_partition_pruning 13- user bool
enable_partitionwise_aggregate 13- user bool
enable_partitionwise_join 13- user bool
enable_presorted_aggregate 16- user bool
enable_self_join_elimination 18- user bool
enable_seqscan 13- user bool
enable_sort 13- user bool
enable_tidscan 13- user bool
escape_string_warning 13-18 user bool
event_source 13- postmaster string
event_triggers 17- superuser bool
exit_on_error 13- user bool
extension_control_path 18- superuser string
extension_destdir 13-17 superuser string
external_pid_file 13- postmaster string
extra_float_digits 13- user integer -15..3
file_copy_method 18- user enum copy|clone
file_extend_method 16- sighup enum posix_fallocate|write_zeros
force_parallel_mode 13-15 user enum off|on|regress||true|false|yes|no|1|0
from_collapse_limit 13- user integer 1..2147483647
fsync 13- sighup bool
full_page_writes 13- sighup bool
geqo 13- user bool
geqo_effort 13- user integer 1..10
geqo_generations 13- user integer 0..2147483647
geqo_pool_size 13- user integer 0..2147483647
geqo_seed 13- user real 0..1
geqo_selection_bias 13- user real 1.5..2
geqo_threshold 13- user integer 2..2147483647
gin_fuzzy_search_limit 13- user integer 0..2147483647
gin_pending_list_limit 13- user integer 64..2147483647 kB
gss_accept_delegation 16- sighup bool
hash_mem_multiplier 13- user real 1..1000
hba_file 13- postmaster string
hosts_file 19- postmaster string
hot_standby 13- postmaster bool
hot_standby_feedback 13- sighup bool
huge_page_size 14- postmaster integer 0..2147483647 kB
huge_pages 13- postmaster enum off|on|try||true|false|yes|no|1|0
huge_pages_status 17- internal enum
icu_validation_level 16- user enum disabled|debug5|debug4|debug3|debug2|debug1|log|notice|warning|error||debug|info
ident_file 13- postmaster string
idle_in_transaction_session_timeout 13- user integer 0..2147483647 ms
idle_replication_slot_timeout 18- sighup integer 0..2147483647 s
idle_session_timeout 14- user integer 0..2147483647 ms
ignore_checksum_failure 13- superuser bool
ignore_invalid_pages 13- postmaster bool
ignore_system_indexes 13- backend bool
in_hot_standby 14- internal bool
integer_datetimes 13- internal bool
IntervalStyle 13- user enum postgres|postgres_verbose|sql_standard|iso_8601
io_combine_limit 17-17 user integer 1..32 8kB
io_combine_limit 18- user integer 1..128 8kB
io_max_combine_limit 18- postmaster integer 1..128 8kB
io_max_concurrency 18- postmaster integer -1..1024
io_max_workers 19- sighup integer 1..32
io_method 18- postmaster enum sync|worker|io_uring
io_min_workers 19- sighup integer 1..32
io_worker_idle_timeout 19- sighup integer 0..2147483647 ms
io_worker_launch_interval 19- sighup integer 0..2147483647 ms
io_workers 18-18 sighup integer 1..32
is_superuser 13- internal bool
jit 13- user bool
jit_above_cost 13- user real -1..1.79769e+308
jit_debugging_support 13- superuser-backend bool
jit_dump_bitcode 13- superuser bool
jit_expressions 13- user bool
jit_inline_above_cost 13- user real -1..1.79769e+308
jit_optimize_above_cost 13- user real -1..1.79769e+308
jit_profiling_support 13- superuser-backend bool
jit_provider 13- postmaster string
jit_tuple_deforming 13- user bool
join_collapse_limit 13- user integer 1..2147483647
krb_caseins_users 13- sighup bool
krb_server_keyfile 13- sighup string
lc_collate 13-15 internal string
lc_ctype 13-15 internal string
lc_messages 13- superuser string
lc_monetary 13- user string
lc_numeric 13- user string
lc_time 13- user string
listen_addresses 13- postmaster string
lo_compat_privileges 13- superuser bool
local_preload_libraries 13- user string
lock_timeout 13- user integer 0..2147483647 ms
log_autoanalyze_min_duration 19- sighup integer -1..2147483647 ms
log_autovacuum_min_duration 13- sighup integer -1..2147483647 ms
log_checkpoints 13- sighup bool
log_connections 13-17 superuser-backend bool
log_connections 18- superuser-backend string
log_destination 13- sighup string
log_directory 13- sighup string
log_disconnections 13- superuser-backend bool
log_duration 13- superuser bool
log_error_verbosity 13- superuser enum terse|default|verbose
log_executor_stats 13- superuser bool
log_file_mode 13- sighup integer 0..511
log_filename 13- sighup string
log_hostname 13- sighup bool
log_line_prefix 13- sighup string
log_lock_failures 18- superuser bool
log_lock_waits 13- superuser bool
log_min_duration_sample 13- superuser integer -1..2147483647 ms
log_min_duration_statement 13- superuser integer -1..2147483647 ms
log_min_error_statement 13- superuser enum debug5|debug4|debug3|debug2|debug1|info|notice|warning|error|log|fatal|panic||debug
log_min_messages 13-18 superuser enum debug5|debug4|debug3|debug2|debug1|info|notice|warning|error|log|fatal|panic||debug
log_min_messages 19- superuser string
log_parameter_max_length 13- superuser integer -1..1073741823 B
log_parameter_max_length_on_error 13- user integer -1..1073741823 B
log_parser_stats 13- superuser bool
log_planner_stats 13- superuser bool
log_recovery_conflict_waits 14- sighup bool
log_replication_commands 13- superuser bool
log_rotation_age 13- sighup integer 0..35791394 min
log_rotation_size 13-17 sighup integer 0..2097151 kB
log_rotation_size 18- sighup integer 0..2147483647 kB
log_startup_progress_interval 15- sighup integer 0..2147483647 ms
log_statement 13- superuser enum none|ddl|mod|all
log_statement_sample_rate 13- superuser real 0..1
log_statement_stats 13- superuser bool
log_temp_files 13- superuser integer -1..2147483647 kB
log_timezone 13- sighup string
log_transaction_sample_rate 13- superuser real 0..1
log_truncate_on_rotation 13- sighup bool
logging_collector 13- postmaster bool
logical_decoding_work_mem 13- user integer 64..2147483647 kB
maintenance_io_concurrency 13- user integer 0..1000
maintenance_work_mem 13-16 user integer 1024..2147483647 kB
maintenance_work_mem 17- user integer 64..2147483647 kB
max_active_replication_origins 18- postmaster integer 0..262143
max_connections 13- postmaster integer 1..262143
max_files_per_process 13- postmaster integer 64..2147483647
max_function_args 13- internal integer
max_identifier_length 13- internal integer
max_index_keys 13- internal integer
max_locks_per_transaction 13- postmaster integer 10..2147483647
max_logical_replication_workers 13- postmaster integer 0..262143
max_notify_queue_pages 17- postmaster integer 64..2147483647
max_parallel_apply_workers_per_subscription 16- sighup integer 0..1024
max_parallel_maintenance_workers 13- user integer 0..1024
max_parallel_workers 13- user integer 0..1024
max_parallel_workers_per_gather 13- user integer 0..1024
max_pred_locks_per_page 13- sighup integer 0..2147483647
max_pred_locks_per_relation 13- sighup integer -2147483648..2147483647
max_pred_locks_per_transaction 13- postmaster integer 10..2147483647
max_prepared_transactions 13- postmaster integer 0..262143
max_repack_replication_slots 19- postmaster integer 0..262143
max_replication_slots 13- postmaster integer 0..262143
max_slot_wal_keep_size 13- sighup integer -1..2147483647 MB
max_stack_depth 13- superuser integer 100..2147483647 kB
max_standby_archive_delay 13- sighup integer -1..2147483647 ms
max_standby_streaming_delay 13- sighup integer -1..2147483647 ms
max_sync_workers_per_subscription 13- sighup integer 0..262143
max_wal_senders 13- postmaster integer 0..262143
max_wal_size 13- sighup integer 2..2147483647 MB
max_worker_processes 13- postmaster integer 0..262143
md5_password_warnings 18- user bool
min_dynamic_shared_memory 14- postmaster integer 0..2147483647 MB
min_eager_agg_group_size 19- user real 0..1.79769e+308
min_parallel_index_scan_size 13- user integer 0..715827882 8kB
min_parallel_table_scan_size 13- user integer 0..715827882 8kB
min_wal_size 13- sighup integer 2..2147483647 MB
multixact_member_buffers 17- postmaster integer 16..131072 8kB
multixact_offset_buffers 17- postmaster integer 16..131072 8kB
notify_buffers 17- postmaster integer 16..131072 8kB
num_os_semaphores 18- internal integer
oauth_validator_libraries 18- sighup string
old_snapshot_threshold 13-16 postmaster integer -1..86400 min
operator_precedence_warning 13-13 user bool
output_plugin_libraries 18- superuser string
parallel_leader_participation 13- user bool
parallel_setup_cost 13- user real 0..1.79769e+308
parallel_tuple_cost 13- user real 0..1.79769e+308
password_encryption 13-13 user enum md5|scram-sha-256||true|yes|on|1
password_encryption 14- user enum md5|scram-sha-256
password_expiration_warning_threshold 19- sighup integer 0..2147483647 s
plan_cache_mode 13- user enum auto|force_generic_plan|force_custom_plan
port 13- postmaster integer 1..65535
post_auth_delay 13- backend integer 0..2147 s
pre_auth_delay 13- sighup integer 0..60 s
primary_conninfo 13- sighup string
primary_slot_name 13- sighup string
promote_trigger_file 13-15 sighup string
quote_all_identifiers 13- user bool
random_page_cost 13- user real 0..1.79769e+308
recovery_end_command 13- sighup string
recovery_init_sync_method 14- sighup enum fsync|syncfs
recovery_min_apply_delay 13- sighup integer 0..2147483647 ms
recovery_prefetch 15- sighup enum off|on|try||true|false|yes|no|1|0
recovery_target 13- postmaster string
recovery_target_action 13- postmaster enum pause|promote|shutdown
recovery_target_inclusive 13- postmaster bool
recovery_target_lsn 13- postmaster string
recovery_target_name 13- postmaster string
recovery_target_time 13- postmaster string
recovery_target_timeline 13- postmaster string
recovery_target_xid 13- postmaster string
recursive_worktable_factor 15- user real 0.001..1e+06
remove_temp_files_after_crash 14- sighup bool
reserved_connections 16- postmaster integer 0..262143
restart_after_crash 13- sighup bool
restore_command 13-13 postmaster string
restore_command 14- sighup string
restrict_nonsystem_relation_kind 13- user string
role 13- internal string
row_security 13- user bool
scram_iterations 16- user integer 1..2147483647
search_path 13- user string
seed 13- internal real
segment_size 13- internal integer
send_abort_for_crash 16- sighup bool
send_abort_for_kill 16- sighup bool
seq_page_cost 13- user real 0..1.79769e+308
serializable_buffers 17- postmaster integer 16..131072 8kB
server_encoding 13- internal string
server_version 13- internal string
server_version_num 13- internal integer
session_authorization 13- internal string
session_preload_libraries 13- superuser string
session_replication_role 13- superuser enum origin|replica|local
shared_buffers 13- postmaster integer 16..1073741823 8kB
shared_memory_size 15- internal integer
shared_memory_size_in_huge_pages 15- internal integer
shared_memory_type 13- postmaster enum sysv|windows|mmap
shared_preload_libraries 13- postmaster string
ssl 13- sighup bool
ssl_ca_file 13- sighup string
ssl_cert_file 13- sighup string
ssl_ciphers 13- sighup string
ssl_crl_dir 14- sighup string
ssl_crl_file 13- sighup string
ssl_dh_params_file 13- sighup string
ssl_ecdh_curve 13-17 sighup string
ssl_groups 18- sighup string
ssl_key_file 13- sighup string
ssl_library 13- internal string
ssl_max_protocol_version 13- sighup enum |TLSv1|TLSv1.1|TLSv1.2|TLSv1.3
ssl_min_protocol_version 13- sighup enum TLSv1|TLSv1.1|TLSv1.2|TLSv1.3
ssl_passphrase_command 13- sighup string
ssl_passphrase_command_supports_reload 13- sighup bool
ssl_prefer_server_ciphers 13- sighup bool
ssl_renegotiation_limit 13- internal integer
ssl_sni 19- sighup bool
ssl_tls13_ciphers 18- sighup string
standard_conforming_strings 13-18 user bool
standard_conforming_strings 19- user bool on
statement_timeout 13- user integer 0..2147483647 ms
stats_fetch_consistency 15- user enum none|cache|snapshot
stats_temp_directory 13-14 sighup string
subtransaction_buffers 17- postmaster integer 0..131072 8kB
summarize_wal 17- sighup bool
superuser_reserved_connections 13- postmaster integer 0..262143
sync_replication_slots 17- sighup bool
synchronize_seqscans 13- user bool
synchronized_standby_slots 17- sighup string
synchronous_commit 13- user enum local|remote_write|remote_apply|on|off||true|false|yes|no|1|0
synchronous_standby_names 13- sighup string
syslog_facility 13- sighup enum local0|local1|local2|local3|local4|local5|local6|local7
syslog_ident 13- sighup string
syslog_sequence_numbers 13- sighup bool
syslog_split_messages 13- sighup bool
tcp_keepalives_count 13- user integer 0..2147483647
tcp_keepalives_idle 13- user integer 0..2147483647 s
tcp_keepalives_interval 13- user integer 0..2147483647 s
tcp_user_timeout 13- user integer 0..2147483647 ms
temp_buffers 13- user integer 100..1073741823 8kB
temp_file_limit 13- superuser integer -1..2147483647 kB
temp_tablespaces 13- user string
TimeZone 13- user string
timezone_abbreviations 13- user string
timing_clock_source 19- superuser enum auto|system|tsc
trace_connection_negotiation 17- postmaster bool
trace_notify 13- user bool
trace_recovery_messages 13-16 sighup enum debug5|debug4|debug3|debug2|debug1|log|notice|warning|error||debug|info
trace_sort 13- user bool
track_activities 13- superuser bool
track_activity_query_size 13- postmaster integer 100..1048576 B
track_commit_timestamp 13- postmaster bool
track_cost_delay_timing 18- superuser bool
track_counts 13- superuser bool
track_functions 13- superuser enum none|pl|all
track_io_timing 13- superuser bool
track_wal_io_timing 14- superuser bool
transaction_buffers 17- postmaster integer 0..131072 8kB
transaction_deferrable 13- user bool
transaction_isolation 13- user enum serializable|repeatable read|read committed|read uncommitted
transaction_read_only 13- user bool
transaction_timeout 17- user integer 0..2147483647 ms
transform_null_equals 13- user bool
unix_socket_directories 13- postmaster string
unix_socket_group 13- postmaster string
unix_socket_permissions 13- postmaster integer 0..511
update_process_title 13- superuser bool
vacuum_buffer_usage_limit 16- user integer 0..16777216 kB
vacuum_cleanup_index_scale_factor 13-13 user real 0..1e+10
vacuum_cost_delay 13- user real 0..100 ms
vacuum_cost_limit 13- user integer 1..10000
vacuum_cost_page_dirty 13- user integer 0..10000
vacuum_cost_page_hit 13- user integer 0..10000
vacuum_cost_page_miss 13- user integer 0..10000
vacuum_defer_cleanup_age 13-15 sighup integer 0..1000000
vacuum_failsafe_age 14- user integer 0..2100000000
vacuum_freeze_min_age 13- user integer 0..1000000000
vacuum_freeze_table_age 13- user integer 0..2000000000
vacuum_max_eager_freeze_failure_rate 18- user real 0..1
vacuum_multixact_failsafe_age 14- user integer 0..2100000000
vacuum_multixact_freeze_min_age 13- user integer 0..1000000000
vacuum_multixact_freeze_table_age 13- user integer 0..2000000000
vacuum_truncate 18- user bool
wal_block_size 13- internal integer
wal_buffers 13- postmaster integer -1..262143 8kB
wal_compression 13-14 superuser bool
wal_compression 15- superuser enum pglz|lz4|zstd|on|off||true|false|yes|no|1|0
wal_consistency_checking 13- superuser string
wal_decode_buffer_size 15- postmaster integer 65536..1073741823 B
wal_init_zero 13- superuser bool
wal_keep_size 13- sighup integer 0..2147483647 MB
wal_level 13- postmaster enum minimal|replica|logical
wal_log_hints 13- postmaster bool
wal_receiver_create_temp_slot 13- sighup bool
wal_receiver_status_interval 13- sighup integer 0..2147483 s
wal_receiver_timeout 13-18 sighup integer 0..2147483647 ms
wal_receiver_timeout 19- user integer 0..2147483647 ms
wal_recycle 13- superuser bool
wal_retrieve_retry_interval 13- sighup integer 1..2147483647 ms
wal_segment_size 13- internal integer
wal_sender_shutdown_timeout 19- user integer -1..2147483647 ms
wal_sender_timeout 13- user integer 0..2147483647 ms
wal_skip_threshold 13- user integer 0..2147483647 kB
wal_summary_keep_time 17- sighup integer 0..35791394 min
wal_sync_method 13- sighup enum fsync|fdatasync|open_sync|open_datasync|fsync_writethrough
wal_writer_delay 13- sighup integer 1..10000 ms
wal_writer_flush_after 13- sighup integer 0..2147483647 8kB
work_mem 13- user integer 64..2147483647 kB
xmlbinary 13- user enum base64|hex
xmloption 13- user enum content|document
zero_damaged_pages 13- superuser bool
"""
