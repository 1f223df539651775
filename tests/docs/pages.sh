# Sourced by the tests of the documentation, with $root the project: what a page of Markdown says.

failures=0
complain() { echo "FAILED: $*"; failures=$((failures + 1)); }
finish() { if [ "$failures" = 0 ]; then echo "all as expected"; else echo "$failures failed"; exit 1; fi; }

# Every page, from the root of the project.
pages() { (cd "$root" && ls README.md docs/*.md); }

# Lines outside of fenced blocks: NUMBER<tab>LINE.
prose() { awk '/^ *```/ { inside = !inside; next } !inside { print FNR "\t" $0 }' "$root/$1"; }  # PAGE

# Lines of the fenced blocks of a language: NUMBER<tab>LINE, with an empty line after each block.
blocks() {  # LANGUAGE PAGE
  awk -v want="$1" '
    /^ *```/ { if (inside) { if (wanted) print ""; inside = wanted = 0 }
               else { inside = 1; wanted = ($0 ~ "^ *```" want "$") }
               next }
    wanted { print FNR "\t" $0 }' "$root/$2"
}

# Code spans of the prose: NUMBER<tab>SPAN.
spans() {  # PAGE
  prose "$1" | awk -F'`' '{ split($1, head, "\t"); for (i = 2; i < NF; i += 2) print head[1] "\t" $i }'
}

# Commands of bash blocks as whole: NUMBER<tab>COMMAND, where a command over several lines keeps them, those
# joined by a backslash aside. Entries end with a NUL.
commands() {  # PAGE
  blocks bash "$1" | awk -F'\t' '
    /^$/ { if (held != "") printf "%s%c", held, 0; held = here = ""; depth = joined = 0; next }
    { line = substr($0, length($1) + 2)
      if (held == "") { if (line ~ /^ *#/) next; held = $1 "\t" } else if (!joined) held = held "\n"
      joined = 0
      if (here != "") { held = held line; if (line != here) next; here = "" }
      else if (line ~ /\\$/) { held = held substr(line, 1, length(line) - 1); joined = 1; next }
      else {
        held = held line
        if (match(line, /<<.?[A-Z]+/)) { here = substr(line, RSTART + 2); gsub(/[^A-Z]/, "", here); next }
        depth += (line ~ /^ *(for|while|if) /) - (line ~ /^ *(done|fi)/)
        if (depth > 0) next
      }
      printf "%s%c", held, 0; held = "" }'
}

# The folders and files of the project, without what a build or a run leaves.
files_of_project() {
  (cd "$root" && find . \( -path ./.git -o -path ./build -o -path ./runs \) -prune -o -type f -print | sed 's|^\./||')
}
