# Sourced by the scripts of this folder: where a run of longspan leaves its exit status, from the words of its command line,
# and what it says.

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

# A name for this launch, which the program stores with its exit status: a folder may be in use by another run, whose
# status must neither be removed nor speak for a launch that was refused.
name_launch() { export LONGSPAN_LAUNCH="$(uname -n).$$.$(date +%s%N)"; }

# What the ranks of this launch wrote; nothing where they did not.
own_exit_status() {  # FOLDER
  [ -n "$1" ] || return 0
  sed -n 's/^{"code": *\([0-9][0-9]*\),.*"launch": *"'"$LONGSPAN_LAUNCH"'".*/\1/p' "$1/exit_status.json" 2>/dev/null
}
