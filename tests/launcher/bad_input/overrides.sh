# --set: paths and values. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words of the message.
bad set_without_value 2 : '--set seed' '--set seed' path=value
bad set_no_path 2 : '--set =1' '--set =1' 'no field ""'
bad set_dots 2 : '--set model..rope=' '--set model..rope=' 'model has no field ""'
bad set_dot_at_end 2 : '--set training.=3' 'training has no field ""'
bad set_unknown 2 : '--set model.hiden_size=3' 'model has no field "hiden_size"' 'did you mean "hidden_size"?'
bad set_through_value 2 : '--set seed.x=1' 'seed holds a value'
bad set_into_list 2 : '--set data.blend.weight=1' 'blend is repeated'
bad set_append_to_one 2 : '--set seed+=1' 'seed holds one value'
bad set_smuggles 2 : "--set 'seed=1 threads_per_rank: 2'" 'more than one value'
bad set_text_for_number 2 : '--set training.steps=many' training.steps many
bad set_fraction 2 : '--set training.steps=1.5' training.steps 1.5
bad set_overflow 2 : '--set seed=18446744073709551616' seed 18446744073709551616
bad set_negative_seed 2 : '--set seed=-1' seed -1
bad set_nan 2 : '--set model.rope.theta=nan' model.rope.theta 'is nan' 'more than 1 to'
bad set_infinite 2 : '--set optimizer.epsilon=inf' optimizer.epsilon 'is inf' 'to 1'
bad set_zero 2 : '--set data.sequence_length=0' data.sequence_length 'is 0' '1 to'
bad set_beyond_limits 2 : '--set model.num_layers=9223372036854775807' model.num_layers 'is 9223372036854775807' 16384
bad set_deep 2 : '--set "model=$(repeat "{" 5000)"' 'nests 5000 deep' 100
bad set_torn_list 2 : "--set 'generation.prompt_tokens=[1, 2'" generation.prompt_tokens
bad set_odd_head 2 : '--set model.head_dim=7' model.head_dim 'is 7' even
bad set_kv_heads 2 : '--set model.num_heads=4 --set model.num_kv_heads=3' model.num_kv_heads 'is 3' 'num_heads 4'
bad set_few_bytes 2 : '--set model.vocabulary_size=100' model.vocabulary_size 'is 100' 256
bad set_yarn 2 : "--set 'model.rope.scaling={type: YARN factor: 2 beta_fast: 1 beta_slow: 2}'" \
  model.rope.scaling.beta_fast 'is 1' 'beta_slow 2'
bad set_llama3 2 : "--set 'model.rope.scaling={type: LLAMA3 low_frequency_factor: 4 high_frequency_factor: 4}'" \
  high_frequency_factor 'is 4' 'low_frequency_factor 4'
bad set_learning_rates 2 : '--set optimizer.learning_rate=1e-4 --set optimizer.minimum_learning_rate=2e-4' \
  optimizer.minimum_learning_rate 0.0002 0.0001
bad set_batch 2 : '--set training.global_batch_sequences=3 --set training.micro_batch_sequences=2' \
  training.global_batch_sequences 'is 3' 'micro_batch_sequences 2'
bad set_holdout 2 : '--set data.holdout_every=1' data.holdout_every 'is 1'
bad set_two_holdouts 2 : '--set data.holdout_every=2 --set evaluation.files=text' evaluation.files 'holdout_every is 2'
bad set_blend_without_files 2 : "--set data.files= --set 'data.blend={weight: 1}'" 'data.blend[0]' 'no files'
bad set_blend_weight 2 : "--set data.files= --set 'data.blend={files: \"text\" weight: -1}'" 'data.blend[0].weight' \
  'is -1'
bad set_resume 2 : '--set checkpoint.resume=-7' checkpoint.resume 'is -7' LATEST
bad set_level_unknown 2 : '--set cpu.level=SSE9' cpu.level '"SSE9"'
if grep -qw amx_bf16 /proc/cpuinfo; then  # where every level runs, ConfigSupport.RefusesALevelThatTheMachineLacks sees the refusal
  good set_level_of_this_machine : '--set cpu.level=AMX --set precision=BF16'
else
  bad set_level_lacking 2 : '--set cpu.level=AMX' 'cpu.level: is AMX, which this machine does not run' 'it runs PORTABLE'
fi
bad set_precision 2 : '--set precision=FP8' precision '"FP8"'
bad set_threads 2 : '--set threads_per_rank=5000' threads_per_rank 'is 5000' 4096
bad set_parameters_beyond_memory 5 : '--set model.hidden_size=1048576 --set model.mlp_size=4194304' \
  model.hidden_size ' parameters' 'which has'
bad set_sequence_beyond_memory 5 : '--set data.sequence_length=1099511627776' 'data.sequence_length 1099511627776' \
  'which has'
# What the tokens' tables leave room for, but not what a step keeps for its backward.
bad set_stashes_beyond_memory 5 : \
  '--set data.sequence_length=5000000 --set model.num_layers=200 --set model.hidden_size=256' \
  'data.sequence_length 5000000' 'kept for backward' 'which has' 'lower data.sequence_length to at most'
bad set_batch_beyond_memory 5 : '--set training.global_batch_sequences=16777216 --set data.sequence_length=1048576' \
  'training.global_batch_sequences 16777216' 'which has'
