# Megatron-LM data: p.idx and p.bin. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words.
megatron_lie() { bad "megatron_$1" 3 "megatron $2" "$megatron_run" p.idx "${@:3}"; }
bad megatron_no_index 3 'megatron; rm p.idx' "$megatron_run" p.idx 'No such file'
bad megatron_no_data 3 'megatron; rm p.bin' "$megatron_run" p.bin 'No such file'
bad megatron_pipe 3 'megatron; rm p.bin; mkfifo p.bin' "$megatron_run" p.bin 'not a regular file'
bad megatron_short 3 'megatron; truncate -s 20 p.idx' "$megatron_run" p.idx '20 bytes' 34
bad megatron_cut 3 'megatron; truncate -s 100 p.idx' "$megatron_run" p.idx '100 bytes' 'need 114'
bad megatron_long 3 'megatron; echo >>p.idx' "$megatron_run" p.idx '115 bytes' 'need 114'
bad megatron_modes 3 'megatron; le 4 0 >>p.idx' "$megatron_run" p.idx multimodal
bad megatron_data_cut 3 'megatron; truncate -s 16 p.bin' "$megatron_run" p.idx \
  'sequence 3 of 4 tokens lies at byte 10' '16 bytes'
megatron_lie magic '0 1 65' 'does not start with MMIDIDX'
megatron_lie version '9 8 3' 'version 3' '1 is supported'
megatron_lie type '17 1 77' 'unknown token type 77'
megatron_lie type_float '17 1 7' float32
megatron_lie type_wide '17 1 4' 'sequence 3 of 4 tokens lies at byte 10' '18 bytes'
megatron_lie count '18 8 -1' '18446744073709551615 sequences' '114 bytes'
megatron_lie count_wraps '18 8 1537228672809129302' '1537228672809129302 sequences'
megatron_lie bounds '26 8 1000000000000' '1000000000000 document bounds'
megatron_lie bounds_fewer '26 8 3' 'need 106'
megatron_lie length '34 4 2000000000' 'sequence 0 of 2000000000 tokens' '18 bytes'
megatron_lie length_negative '38 4 -5' 'sequence 1 has -5 tokens'
megatron_lie pointer '58 8 4000' 'sequence 1 of 2 tokens lies at byte 4000' '18 bytes'
megatron_lie pointer_negative '58 8 -2' 'lies at byte -2'
megatron_lie document_start '82 8 1' 'first document starts at sequence 1, not 0'
megatron_lie document_backwards '90 8 4' 'document 1 covers sequences 4 to 3'
megatron_lie document_end '106 8 9' 'document 2 covers sequences 3 to 9' 'there are 4'
bad megatron_token 3 'megatron; each 2 600 | put p.bin 4' "$megatron_run --set data.sequence_length=9" \
  'p.bin#0: token 2 is 600' '512 tokens'
