# Completes mtl in bash 3.2 and later. Use: eval "$(mtl completion bash)"
# All that is known of commands, groups and keys is asked of mtl itself; what it answers is inserted as it stands.
_mtl() {
    local answer
    COMPREPLY=()
    while IFS= read -r answer; do
        COMPREPLY[${#COMPREPLY[@]}]=$answer
    done < <("${1/#\~\//$HOME/}" completion query bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
}
complete -o nospace -o nosort -F _mtl mtl 2>/dev/null || complete -o nospace -F _mtl mtl
