# Sourced by the scripts of this folder: where a run of longspan leaves its exit status, from the words of its command line.

# The last --set output_directory, else what the configuration says; empty if neither does.
run_folder() {  # WORD...
  local word previous='' config='' folder=''
  for word in "$@"; do
    case $previous in
      --config) config=$word ;;
      --set) case $word in output_directory=*) folder=${word#*=} ;; esac ;;
    esac
    case $word in
      --config=*) config=${word#*=} ;;
      --set=output_directory=*) folder=${word#*=*=} ;;
    esac
    previous=$word
  done
  if [ -z "$folder" ] && [ -r "$config" ]; then
    # Strings and comments are matched first, so that nothing inside them counts.
    folder=$(grep -oE "output_directory[[:space:]]*:[[:space:]]*(\"[^\"]*\"|'[^']*')|\"[^\"]*\"|'[^']*'|#.*" "$config" |
      sed -n 's/^output_directory[^"'\'']*//p' | tail -1)
  fi
  case $folder in
    \"*\" | \'*\') folder=${folder#?} folder=${folder%?} ;;
  esac
  printf '%s' "$folder"
}

# The file of an earlier run would speak for this one.
forget_exit_status() { [ -z "$1" ] || rm -f -- "$1/exit_status.json"; }  # FOLDER

# What the run wrote; CODE, which a launcher may have changed, where it wrote nothing.
exit_status_or() {  # CODE FOLDER
  local written=
  [ -n "$2" ] && written=$(sed -n 's/^{"code": *\([0-9][0-9]*\).*/\1/p' "$2/exit_status.json" 2>/dev/null)
  printf '%s' "${written:-$1}"
}
