first
second ${ zone
