#!/bin/sh
# The arguments that the official image puts before those of its command.
[ "$1" = server ] || exec /usr/bin/weed "$@"
shift
exec /usr/bin/weed -logtostderr=true server -dir=/data -volume.max=0 -master.volumePreallocate \
    -master.volumeSizeLimitMB=1024 "$@"
