#!/bin/sh
# Tests the program without a server:   sh test.sh
set -eu
page=$(REQUEST_METHOD=GET SCRIPT_NAME= PATH_INFO='/<b>' QUERY_STRING= REMOTE_ADDR=127.0.0.1 sh cgi-bin/hello.sh)
case $page in
  'Content-Type: text/html'*'<code>/&lt;b&gt;</code>'*) echo ok ;;
  *) printf '%s\n' "$page"; exit 1 ;;
esac
