# safetensors of a Hugging Face folder. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words.
tensors() { bad "weights_$1" 4 "imported; safetensors '$2' $3" '' model "${@:4}"; }
index() { bad "index_$1" 4 "imported; mv model/model.safetensors model/a.safetensors
  echo '$2' >model/model.safetensors.index.json" '' "${@:3}"; }
bad weights_absent 4 'imported; rm model/model.safetensors' '' 'model has neither' model.safetensors.index.json
bad weights_folder 4 'imported; rm model/model.safetensors; mkdir model/model.safetensors' \
  '' model/model.safetensors 'a folder'
bad weights_pipe 4 'imported; rm model/model.safetensors; mkfifo model/model.safetensors' '' model/model.safetensors \
  'a pipe'
bad weights_empty 4 'imported; : >model/model.safetensors' '' model/model.safetensors '0 bytes' 'at least 8'
bad weights_cut 4 'imported; truncate -s 70000 model/model.safetensors' '' model/model.safetensors 'cut short' \
  'end at byte'
bad weights_longer 4 'imported; echo >>model/model.safetensors' '' model/model.safetensors 'something follows'
bad weights_header_length 4 'imported; le 8 -1 | put model/model.safetensors 0' '' model/model.safetensors \
  18446744073709551615 100000000
bad weights_header_beyond 4 'imported; le 8 99999999 | put model/model.safetensors 0' \
  '' model/model.safetensors 99999999 'only'
tensors not_json '{"a":' 0 malformed
tensors list '[1]' 0 "does not start with '{'"
tensors deep '{"a":[[[[[[[[[[' 0 "'a'" 'a list'
tensors twice '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}' 1 \
  "'a'" twice
tensors overlap '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}}' 6 \
  "'b'" '[2, 6]' 'overlap what ends at 4'
tensors hole '{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[5,9]}}' 9 \
  "'b'" '[5, 9]' 'a hole after 4'
tensors backwards '{"a":{"dtype":"U8","shape":[4],"data_offsets":[4,0]}}' 4 "'a'" '[4, 0]' backwards
tensors outside '{"a":{"dtype":"U8","shape":[400],"data_offsets":[0,400]}}' 4 'end at byte 400' 'the file has 4'
tensors negative '{"a":{"dtype":"U8","shape":[-4],"data_offsets":[0,4]}}' 4 "'a'" 'shape' -4
tensors shape_overflow '{"a":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,4]}}' 4 "'a'" \
  '[4294967296, 4294967296]' overflows
tensors size '{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}' 4 "'a'" 'needs 8 bytes' 'hold 4'
tensors type_unknown '{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}' 4 "'a'" "'F31'"
tensors terminal_escapes '{"a\n\u001b[2J":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}' 4 'a\n\x1b[2J' "'F31'"
tensors missing '{"model.norm.weight":{"dtype":"F32","shape":[32],"data_offsets":[0,128]}}' 128 \
  "has no tensor 'model.embed_tokens.weight'"
bad weights_type 4 'imported; sed -i s/F32/I32/ model/model.safetensors' '' model/model.safetensors \
  "'model.embed_tokens.weight' is I32" 'cannot be read as'
bad weights_extra 4 'imported; key num_hidden_layers 1' '' model model.layers.1.
bad weights_fewer_layers 4 'imported; key num_hidden_layers 3' '' "model has no tensor 'model.layers.2."
bad weights_shape 4 'imported; key vocab_size 97' '' model/model.safetensors model.embed_tokens.weight '[96, 32]' \
  '[97, 32]'
index not_json '{"weight_map":' index.json 'not JSON'
index no_map '{}' index.json weight_map missing
index map_is_list '{"weight_map":[]}' index.json weight_map 'an object'
index number '{"weight_map":{"a":7}}' index.json weight_map.a 'a string' 7
index outside '{"weight_map":{"a":"../x.safetensors"}}' index.json "'a'" "'../x.safetensors'"
index absolute '{"weight_map":{"a":"/etc/passwd"}}' index.json "'a'" "'/etc/passwd'"
index shard_absent '{"weight_map":{"a":"b.safetensors"}}' model/b.safetensors 'No such file'
index not_there '{"weight_map":{"zz":"a.safetensors"}}' index.json "'zz'" 'a.safetensors'
index twice '{"weight_map":{"a":"a.safetensors","a":"b.safetensors"}}' index.json "'a'" twice
