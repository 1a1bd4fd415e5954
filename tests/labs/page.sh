#!/bin/sh
# page.sh FOLDER writes FOLDER/index.html: what the labs found, on one page that needs no network.
cd "$1" || exit 1

# Text for HTML.
escape() {
    sed 's/&/\&amp;/g; s/</\&lt;/g; s/>/\&gt;/g'
}

# What a part said: its question, its commands, its remarks and verdicts. Tables, ladders and
# bars, which stand further to the right, follow as tables and pictures.
said() {
    [ -f "$1" ] || return 0
    escape <"$1" | awk '
        function close_commands() { if (commands) print "</pre>"; commands = 0 }
        /^ *$/ || /^   / { next }
        !asked { print "<h3>" $0 "</h3>"; asked = 1; next }
        /\$ build\// {
            print (commands ? "" : "<pre>") substr($0, 3)
            commands = 1
            next
        }
        { close_commands() }
        /^  seen:/ { print "<p class=\"seen\">" substr($0, 3) "</p>"; next }
        /^  (NOT SEEN|FAILED|not shown here)/ { print "<p class=\"not\">" substr($0, 3) "</p>"; next }
        /^  look yourself:/ { print "<p>look yourself: <code>" substr($0, 18) "</code></p>"; next }
        { print "<p>" $0 "</p>" }
        END { close_commands() }'
}

table() {
    [ -f "$1" ] || return
    escape <"$1" | awk -F '\t' '
        NR == 1 { print "<div class=\"wide\"><table>"; cell = "th" }
        {
            printf "<tr>"
            for (i = 1; i <= NF; i++)
                printf "<%s>%s</%s>", cell, $i, cell
            print "</tr>"
            cell = "td"
        }
        END { print "</table></div>" }'
}

pictures() {
    [ -f "$1/$2.pictures" ] || return
    while IFS='	' read -r picture title; do
        # As a document of its own a ladder says more where the mouse rests on a segment.
        printf '<figure><object type="image/svg+xml" data="%s/%s" role="img" aria-label="%s" ' \
            "$(basename "$1")" "$picture" "$(echo "$title" | tr '"' "'")"
        echo 'tabindex="-1"></object></figure>'
        [ ! -f "$1/${picture%.svg}.pcap" ] ||
            printf '<p class="file"><a href="%s/%s">%s</a>, for Wireshark or tcpdump</p>\n' \
                "$(basename "$1")" "${picture%.svg}.pcap" "${picture%.svg}.pcap"
    done <"$1/$2.pictures"
}

{
    cat <<'END'
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>What the options do</title>
<style>
:root { color-scheme: light dark; --ink: #1f2328; --page: #fff; --dim: #57606a; --line: #d0d7de;
        --seen: #0a7a3f; --not: #c5221f; --link: #0b57d0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e6e8ea; --page: #15181c; --dim: #a3abb4; --line: #3a4149; --seen: #6fd39b;
          --not: #ff8a80; --link: #8ab4f8; }
}
body { max-width: 52rem; margin: 2rem auto; padding: 0 1rem; background: var(--page);
       color: var(--ink); font: 1rem/1.5 system-ui, sans-serif; }
h2 { margin-top: 3rem; border-top: 1px solid var(--line); padding-top: 1rem; }
h3 { margin-top: 2rem; }
a { color: var(--link); }
pre, code { font: 0.85rem/1.5 ui-monospace, monospace; }
pre, .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; }
th, td { text-align: left; padding: 0.2rem 1rem 0.2rem 0; border-bottom: 1px solid var(--line); }
.seen { color: var(--seen); font-weight: 600; }
.not { color: var(--not); font-weight: 600; }
.file { color: var(--dim); font-size: 0.85rem; }
figure { margin: 1rem 0; }
object { display: block; max-width: 100%; height: auto; }
</style>
</head>
<body>
<h1>What the options do</h1>
END
    printf '<p>Measured on this machine: Linux %s, %s, %s processors.</p>\n<ul>\n' \
        "$(uname -r | escape)" "$(uname -m)" "$(getconf _NPROCESSORS_ONLN)"
    for folder in [0-9][0-9]; do
        printf '<li><a href="#lab-%s">%s %s</a></li>\n' "$(basename "$folder")" \
            "$(basename "$folder")" "$(head -n 1 "$folder/parts.list" | escape)"
    done
    echo '</ul>'
    for folder in [0-9][0-9]; do
        printf '<h2 id="lab-%s">%s %s</h2>\n' "$(basename "$folder")" "$(basename "$folder")" \
            "$(head -n 1 "$folder/parts.list" | escape)"
        tail -n +2 "$folder/parts.list" | while read -r part; do
            said "$folder/$part.txt"
            table "$folder/$part.tsv"
            pictures "$folder" "$part"
        done
    done
    echo '</body>'
    echo '</html>'
} >index.html
