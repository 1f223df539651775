# config.json of a Hugging Face folder. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words.
model_key() { bad "model_$1" 4 "imported; key $2 '$3'" '' "model/config.json: $2" "${@:4}"; }
bad model_absent 4 'imported; rm -r model' '' model/config.json 'No such file'
bad model_file 4 'imported; rm -r model; echo >model' '' model/config.json 'Not a directory'
bad model_no_config 4 'imported; rm model/config.json' '' model/config.json 'No such file'
bad model_config_folder 4 'imported; rm model/config.json; mkdir model/config.json' '' model/config.json 'a folder'
bad model_config_pipe 4 'imported; rm model/config.json; mkfifo model/config.json' '' model/config.json 'a pipe'
bad model_config_empty 4 'imported; : >model/config.json' '' model/config.json 'not JSON'
bad model_config_list 4 'imported; echo "[1, 2]" >model/config.json' '' model/config.json '[1,2]' 'not an object'
bad model_config_binary 4 'imported; printf "{\"a\":\"\377\"}" >model/config.json' '' model/config.json 'UTF-8'
bad model_config_cut 4 'imported; truncate -s 300 model/config.json' '' model/config.json 'not JSON' "after the key"
bad model_config_deep 4 'imported; repeat "[" 1000000 >model/config.json' '' model/config.json 'more than 64 levels'
bad model_config_huge 4 'imported; truncate -s 17M model/config.json' '' model/config.json 17825792 16777216
bad model_config_endless_string 4 'imported; { printf "{\"a"; repeat x 9000000; } >model/config.json' \
  '' model/config.json 'not JSON'
bad model_key_twice 4 'imported; sed -i "2i\"vocab_size\": 7," model/config.json' \
  '' model/config.json "'vocab_size'" twice
bad model_nan 4 'imported; key rms_norm_eps NaN' '' model/config.json "'rms_norm_eps'" 'not JSON'
model_key architecture model_type '"gpt2"' gpt2 'llama, mistral, qwen2 and qwen3'
model_key activation hidden_act '"gelu"' gelu 'silu is'
bad model_rope_kind 4 'imported; key rope_type "\"longrope\""' \
  '' model/config.json rope_parameters.rope_type longrope yarn
bad model_rope_dynamic 4 'imported; key rope_type "\"dynamic\""' '' model/config.json rope_parameters.rope_type dynamic
bad model_rope_factor 4 'imported; key factor 0.5' '' model/config.json rope_parameters.factor 0.5 'at least 1'
model_key text_for_number hidden_size '"32"' 'an integer' '"32"'
model_key number_for_text model_type 5 'a string' 5
model_key number_for_flag tie_word_embeddings 1 'true or false'
model_key fraction num_hidden_layers 2.5 'an integer' 2.5
model_key negative vocab_size -96 'not -96'
model_key zero intermediate_size 0 'not 0'
model_key overflow hidden_size 18446744073709551615 18446744073709551615 2147483647
model_key kv_heads num_key_value_heads 3 'is 3' 'num_attention_heads, 4'
model_key odd_head head_dim 7 'is 7' even
model_key bias attention_bias true 'not supported'
model_key null num_attention_heads null missing
bad model_beyond_limits 4 'imported; key num_hidden_layers 100000' '' model/config.json model.num_layers \
  'is 100000' 16384
bad model_beyond_limits_theta 4 'imported; key rope_theta 1e300' '' model/config.json model.rope.theta 'is 1e+300'
bad model_shape_beside_import 2 imported '--set model.hidden_size=48' model.hidden_size 'is 48' 'model says 32'
bad model_enormous 4 'imported; key hidden_size 1048576; key vocab_size 16777216; key intermediate_size 4194304' '' \
  model/model.safetensors model.embed_tokens.weight '[96, 32]' '[16777216, 1048576]'
