#!/bin/bash
# delivered.sh: messages in all mailboxes; 0 while mail is still in Postfix's queue. Cheap enough to be polled.
here=$(dirname "$0")
if [ "$("$here/postfix.sh" queue)" -gt 0 ]; then
  echo 0
else
  "$here/dovecot.sh" count
fi
