#!/bin/sh
# List the largest parts of an image, in MB. Run it inside:
#   docker run --rm -i --user 0 --entrypoint sh IMAGE -s < docker/sizes.sh
set -eu
export LC_ALL=C
site=$(echo /opt/venv/lib/python3*/site-packages)
largest=20

size() { du --apparent-size --summarize --one-file-system --block-size=1000 "$@" 2>/dev/null; }

# A package includes its bundled shared libraries.
packages=$(size "$site"/* | sed 's/\.libs$//; s/\/PIL$/\/pillow/; s/-[^/]*\.dist-info$//' \
  | awk '{ sum[$2] += $1 } END { for (name in sum) print sum[name], name }')
{
  echo "$packages"
  size "$site"/nvidia/*/lib/*.so.* | awk '{ print $1, $2 }'
  echo "$(size /usr | cut -f1) /usr (Debian and its Python)"
  echo "$(size /var | cut -f1) /var"
  echo "$(size /srv/vgg-serve | cut -f1) /srv/vgg-serve (the service)"
} | sort -rn | head -n "$largest" | awk '{ kb = $1; $1 = ""; sub("'"$site"'/", ""); printf "%7.1f %s\n", kb / 1000, $0 }'
