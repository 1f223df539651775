# The configuration file. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words of the message.
bad config_absent 2 'rm run.textproto' '' run.textproto 'No such file'
bad config_empty 2 ': >run.textproto' '--set output_directory=out' 'data.files' 'is not set'
bad config_folder 2 'rm run.textproto; mkdir run.textproto' '' run.textproto 'Is a directory'
bad config_pipe 2 'rm run.textproto; mkfifo run.textproto' '' run.textproto 'pipe without a writer'
bad config_unreadable 2 'unprivileged; chmod 0 run.textproto' '' run.textproto 'Permission denied'
bad config_binary 2 'printf "seed: 1\0" >run.textproto' '' run.textproto 'binary data'
bad config_not_text 2 'printf "\377\376s" >run.textproto' '' run.textproto:1:1
bad config_huge 2 'repeat "#" 2000000 >run.textproto' '' run.textproto 'more than 1048576 bytes'
bad config_deep 2 'repeat "{" 200000 >>run.textproto' '' run.textproto:7 'nest 200000 deep' 'at most 100'
bad config_deep_lists 2 '{ printf "x: "; repeat "[" 200000; } >>run.textproto' '' run.textproto:7:200003 \
  'nest 200000 deep' 'at most 100'
bad config_unknown_field 2 'echo "sed: 1" >>run.textproto' '' \
  run.textproto:7:1 'the configuration has no field "sed"' 'did you mean "seed"?'
bad config_misplaced_field 2 'echo "mesh { theta: 3 }" >>run.textproto' '' 'did you mean "model.rope.theta"?'
bad config_field_twice 2 'echo "seed: 1 seed: 2" >>run.textproto' '' run.textproto:7:9 seed 'multiple times'
bad config_torn 2 'echo "memory {" >>run.textproto' '' run.textproto:8:1 'Expected identifier' 'the end of the text'
bad config_open_string 2 'printf "name: \"x" >>run.textproto' '' run.textproto:7 string
bad config_wrong_enum 2 'echo "context { layout: ZIGZAK }" >>run.textproto' '' context.layout '"ZIGZAK"' '"ZIGZAG"?'
bad config_enum_number 2 'echo "context { layout: 9 }" >>run.textproto' '' context.layout 'is 9' STRIPED
bad config_text_for_number 2 'echo "seed: \"1\"" >>run.textproto' '' run.textproto:7:7 'seed: Expected integer' '"1"'
bad config_number_for_text 2 'echo "name: 5" >>run.textproto' '' run.textproto:7:7 'name: Expected string' 5
bad config_value_for_message 2 'echo "mesh: 5" >>run.textproto' '' run.textproto:7:7 'mesh: Expected' '"5"'
bad config_integer_overflow 2 'echo "seed: 99999999999999999999" >>run.textproto' '' run.textproto:7:7 \
  'seed: Integer out of range' 99999999999999999999
bad config_negative 2 'echo "evaluation { max_sequences: -1 }" >>run.textproto' '' \
  run.textproto:7:14 'evaluation.max_sequences' 'is -1' '0 to'
bad config_nan 2 'echo "optimizer { learning_rate: nan }" >>run.textproto' '' optimizer.learning_rate 'is nan' \
  '0 to 100'
bad config_infinite 2 'echo "optimizer { gradient_clip: 1e999 }" >>run.textproto' '' optimizer.gradient_clip \
  'is inf' '0 to 1000000000000'
bad config_nul_in_path 2 'echo "evaluation { files: \"text\\000\" }" >>run.textproto' '' 'evaluation.files[0]' \
  'zero byte'
bad config_terminal_escapes 2 'printf "name: \033]0;x\007\n" >>run.textproto' '' run.textproto:7
bad config_mesh 2 'echo "mesh { data: 3 }" >>run.textproto' '' mesh 'data 3' "this run has $ranks:"
bad config_mesh_overflow 2 'echo "mesh { data: 1048576 context: 1048576 }" >>run.textproto' '' \
  'data 1048576' "this run has $ranks:"
