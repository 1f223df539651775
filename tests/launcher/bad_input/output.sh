# The folder of the run. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words of the message.
bad output_unset 2 : '--set output_directory=' output_directory 'is not set'
bad output_file 5 'echo >out' '' output_directory out 'Not a directory'
bad output_below_a_file 5 : '--set output_directory=text/out' output_directory text/out 'Not a directory'
bad output_unwritable 5 'unprivileged; mkdir d; chmod 555 d' '--set output_directory=d/out' output_directory d/out \
  'Permission denied'
bad output_dangling_link 5 'ln -s nowhere/x out' '' output_directory out
bad output_long_name 5 : '--set "output_directory=$(repeat x 300)"' output_directory xxx 'name too long'
bad output_locked 2 'mkdir out; exec 9>out/lock; flock -n 9' '' output_directory 'in use by another run'
exec 9>&-
bad output_lock_is_folder 5 'mkdir -p out/lock' '' out/lock 'Is a directory'
bad output_log_is_file 5 'mkdir out; echo >out/log' '' out/log
bad output_metrics_is_folder 5 'mkdir -p out/metrics.jsonl' '' out/metrics.jsonl
bad output_metrics_is_pipe 5 'mkdir out; mkfifo out/metrics.jsonl' '' out/metrics.jsonl 'a pipe'
bad output_status_is_folder 5 'mkdir -p out/exit_status.json/x' '' out/exit_status.json
bad output_tensorboard_is_file 5 'mkdir out; echo >out/tensorboard' '--set metrics.tensorboard=true' out/tensorboard
bad output_trace_is_file 5 'mkdir out; echo >out/trace' '--set metrics.trace_steps=1' metrics.trace_steps out/trace
bad output_checkpoints_is_file 4 'mkdir out; echo >out/checkpoints' '' out/checkpoints 'Not a directory'
bad output_checkpoints_is_file_auto 4 'mkdir out; echo >out/checkpoints' '--set precision=AUTO' out/checkpoints 'Not a directory'
bad output_checkpoints_unreadable 4 'unprivileged; trained; chmod 0 out/checkpoints' "$go_on" out/checkpoints \
  'Permission denied'
