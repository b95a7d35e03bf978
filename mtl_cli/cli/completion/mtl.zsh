#compdef mtl
# Completes mtl in zsh. Use: eval "$(mtl completion zsh)" after compinit, or save it as _mtl in a folder of $fpath.
# All that is known of commands, groups and keys is asked of mtl itself: lines of a kind, a word, and a line about it.
_mtl() {
    local kind word about tab=$'\t' typed=${(Q)PREFIX}
    local -a whole part raw
    [[ -n $compstate[quote] ]] || raw=(-Q)  # what is typed stays as it is, ~ and $HOME too
    while IFS= read -r kind; do
        word=${${kind#*$tab}%%$tab*} about=${kind##*$tab} kind=${kind%%$tab*}
        (( $#raw )) && word=$PREFIX${${(q)word}#"${(q)typed}"}
        word=${${word//\\/\\\\}//:/\\:}${about:+:$about}
        case $kind in
            whole) whole+=("$word") ;;
            part) part+=("$word") ;;
            note) _message -r "$about" ;;
        esac
    done < <("${${(Q)words[1]}/#\~\//$HOME/}" completion query zsh "${(@Q)words[2,CURRENT-1]}" "$typed" 2>/dev/null)
    _describe -V mtl whole $raw -- part -S '' $raw
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }
if [[ ${funcstack[1]} == _mtl ]]; then _mtl "$@"; else compdef _mtl mtl; fi
