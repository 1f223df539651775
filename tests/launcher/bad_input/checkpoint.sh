# Checkpoints that were cut or changed. Sourced by bad_input_test.sh; name, exit code, preparation, arguments, words.
damaged() { bad "checkpoint_$1" 4 "trained; $2" "$go_on" "${@:3}"; }
damaged no_manifest 'rm $latest/manifest.pb' step_00000001/manifest.pb 'No such file'
damaged manifest_empty ': >$latest/manifest.pb' step_00000001/manifest.pb '0 bytes'
damaged manifest_cut 'truncate -s 1000 $latest/manifest.pb' step_00000001/manifest.pb checksum
damaged manifest_changed 'printf X | put $latest/manifest.pb 100' step_00000001/manifest.pb checksum 'its bytes give'
damaged manifest_huge 'truncate -s 70M $latest/manifest.pb' step_00000001/manifest.pb 73400320 67108864
damaged manifest_pipe 'rm $latest/manifest.pb; mkfifo $latest/manifest.pb' step_00000001/manifest.pb 'a pipe'
damaged manifest_folder 'rm $latest/manifest.pb; mkdir $latest/manifest.pb' step_00000001/manifest.pb 'a folder'
damaged no_tensors 'rm $latest/tensors_00000.bin' tensors_00000.bin 'No such file'
damaged tensors_empty ': >$latest/tensors_00000.bin' tensors_00000.bin 'ends at 0'
damaged tensors_cut 'truncate -s 5000 $latest/tensors_00000.bin' tensors_00000.bin 'ends at 5000'
damaged tensors_changed 'printf XYZ | put $latest/tensors_00000.bin 5000' tensors_00000.bin checksum 'its bytes give'
damaged tensors_pipe 'rm $latest/tensors_00000.bin; mkfifo $latest/tensors_00000.bin' tensors_00000.bin 'a pipe'
damaged renamed 'mv $latest out/checkpoints/step_00000007' 'manifest says step 1, its name 7'
damaged is_file 'rm -r $latest; echo >$latest' step_00000001/manifest.pb 'Not a directory'
bad checkpoint_other_shape 4 trained "$go_on --set model.mlp_size=48" step_00000001 'mlp_size 32,' 'mlp_size 48:' \
  'another output_directory'
bad checkpoint_other_model 4 trained "$go_on --set model.rope.theta=500" step_00000001 'rope.theta 10000' \
  'rope.theta 500'
bad checkpoint_step_absent 4 trained "$go_on --set checkpoint.resume=5" checkpoint.resume 'step 5'
bad checkpoint_resume_none 4 trained "$go_on --set checkpoint.resume=NONE" checkpoint.resume NONE 'step 1'
