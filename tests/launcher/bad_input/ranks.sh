# What one rank alone meets, as where a host lacks a file. Sourced by bad_input_test.sh; the arguments are those of rank 1.
bad_on_rank_1 rank_config_absent 2 config=nowhere.textproto '' nowhere.textproto 'No such file'
bad_on_rank_1 rank_config_torn 2 'config=torn; head -n 2 run.textproto | sed "s/}//" >torn' '' torn:3:1 \
  'the end of the text'
bad_on_rank_1 rank_field_unknown 2 : '--set sed=1' '--set sed=1' '"seed"?'
bad_on_rank_1 rank_value 2 : '--set training.steps=0' training.steps 'is 0'
bad_on_rank_1 rank_other_configuration 2 : '--set seed=7' 'different configurations' fingerprints
bad_on_rank_1 rank_other_precision 2 'echo "precision: AUTO cpu { level: PORTABLE }" >>run.textproto' '--set precision=BF16' \
  'different configurations' fingerprints
bad_on_rank_1 rank_other_level 2 'echo "precision: AUTO" >>run.textproto' '--set cpu.level=PORTABLE' \
  'different configurations' fingerprints
# What only one of them would communicate about.
bad_on_rank_1 rank_other_evaluation 2 : '--set evaluation.files=text' 'different configurations' fingerprints
bad_on_rank_1 rank_no_evaluation 2 'config=plain; cp run.textproto plain; echo "evaluation { files: \"text\" }" >>run.textproto' '' \
  'different configurations' fingerprints
bad_on_rank_1 rank_data_absent 3 : '--set data.files=nowhere' nowhere 'No such file'
bad_on_rank_1 rank_data_odd 3 'each 2 1 2 3 >t; cp t u; printf x >>u
  sed -i "s/\"text\"/\"t\" format: TOKENS_U16/; s/num_layers/vocabulary_size: 300 num_layers/" run.textproto
  sed -i "s/sequence_length: 64/sequence_length: 2/" run.textproto' \
  '--set data.files=u' 'u has 7 bytes' '2 bytes'
bad_on_rank_1 rank_data_other 3 'his=a hers=b; mkdir a b; cp run.textproto text a; cp run.textproto b; sed s/t/T/ text >b/text' '' \
  'do not see the same files' data.files
bad_on_rank_1 rank_data_short 3 'his=a hers=b; mkdir a b; cp run.textproto text a; cp run.textproto b; head -c 50 text >b/text' '' \
  'do not see the same files' data.files
bad_on_rank_1 rank_data_not_there 3 'his=a hers=b; mkdir a b; cp run.textproto text a; cp run.textproto b' '' \
  'cannot find text'
bad_on_rank_1 rank_model_absent 4 'imported; mkdir other' '--set model.from_huggingface=other' other/config.json \
  'No such file'
bad_on_rank_1 rank_model_other 2 'imported; cp -r model other; sed -i s/1e-05/1e-06/ other/config.json' \
  '--set model.from_huggingface=other' 'different configurations'
bad_on_rank_1 rank_output_is_file 5 'echo >f' '--set output_directory=f' output_directory 'Not a directory'
