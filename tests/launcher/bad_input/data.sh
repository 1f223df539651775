# Data files. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words of the message.
bad data_absent 3 : '--set data.files=nowhere' nowhere 'No such file'
bad data_one_absent 3 : '--set data.files+=nowhere' nowhere 'No such file'
bad data_empty_file 3 ': >text' '' text 'all 1 files are empty'
bad data_empty_folder 3 'mkdir f' '--set data.files=f' 'no file matches f'
bad data_no_match 3 : "--set 'data.files=*.parquet'" '*.parquet'
bad data_dangling_link 3 'ln -s nowhere l' '--set data.files=l' 'cannot find l' links
bad data_link_loop 3 'ln -s l l' '--set data.files=l' 'cannot find l' 'symbolic links'
bad data_pipe 3 'mkfifo p' '--set data.files=p' 'p is a pipe'
bad data_device 3 : '--set data.files=/dev/zero' '/dev/zero is a pipe or a device'
bad data_unreadable 3 'unprivileged; chmod 0 text' '' text 'Permission denied'
bad data_unreadable_folder 3 'unprivileged; mkdir f; cp text f; chmod 0 f' '--set data.files=f' 'f (1 cannot be read)'
bad data_nothing_usable 3 'mkdir f; mkfifo f/p; ln -s nowhere f/l; ln -s loop f/loop; ln -s . f/self' '--set data.files=f' \
  'no file matches f' '4 cannot be read'
bad data_below_a_file 3 : '--set data.files=text/x' text/x 'Not a directory'
bad data_long_name 3 : '--set "data.files=$(repeat x 5000)"' xxx 'name too long'
bad data_odd_u16 3 'repeat x 5 >t' '--set data.files=t --set data.format=TOKENS_U16 --set model.vocabulary_size=512' \
  't has 5 bytes' 'tokens of 2 bytes'
bad data_odd_u32 3 'repeat x 6 >t' '--set data.files=t --set data.format=TOKENS_U32 --set model.vocabulary_size=512' \
  't has 6 bytes' 'tokens of 4 bytes'
bad data_token_u16 3 'each 2 1 2 600 3 >t' \
  '--set data.files=t --set data.format=TOKENS_U16 --set model.vocabulary_size=512 --set data.sequence_length=4' 't: token 2 is 600' '512 tokens'
bad data_token_u32 3 'each 4 1 -2 3 >t' \
  '--set data.files=t --set data.format=TOKENS_U32 --set model.vocabulary_size=512 --set data.sequence_length=3' 't: token 1 is 4294967294'
bad data_nothing_to_predict 3 'mkdir f; printf a >f/a; printf b >f/b' '--set data.files=f --set data.sequence_length=2' \
  'nothing can be predicted'
bad data_shorter_than_a_sequence 3 'head -c 300 text >t' '--set data.files=t --set data.sequence_length=301' \
  'starts with t, 300 tokens are there' 'the 301 of one sequence' 'set data.sequence_length to at most 300'
bad data_all_held_out 3 'mkdir f; cp text f' '--set data.files=f --set data.holdout_every=2' 'held out' holdout_every
bad data_evaluation_absent 3 : '--set evaluation.files=nowhere' nowhere 'No such file'
bad data_blend_absent 3 : "--set data.files= --set 'data.blend=[{files: \"text\"}, {files: \"nowhere\"}]'" nowhere
bad data_unwritable_gradients 5 : '--set training.dump_gradients=text/x' text/x 'Not a directory'
