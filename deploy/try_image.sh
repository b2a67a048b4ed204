#!/usr/bin/env bash
# Build the image on a base made from Debian's packages, and try it as an operator would run it: as its
# own user, without capabilities, on a root file system that cannot be written. It needs root, and
# Debian's buildah, podman, crun and mmdebstrap; no image is pulled.
#
#   WHEELS=DIR   packages from this folder instead of an index; to fill it: see docs/docker.md
#   PIP_CONF=F   a pip.conf for the build, where packages come from a mirror
#   SOURCES=F    the list of Debian's mirrors (that of this machine)
#   STORE=DIR    where images are kept (a temporary folder, removed at the end)
#   MODEL=none   leave the model out of the image, and mount the folder MODEL_DIRECTORY
#   IMAGE=NAME   try this image of STORE, and build none
set -euo pipefail
if [ "${1:-}" != inside ]; then
  # In a mount namespace of its own, for what is unmounted below.
  exec unshare --mount "$0" inside
fi
cd "$(dirname "$0")/.."
# crun refuses a machine with both versions of control groups.
if [ ! -e /sys/fs/cgroup/cgroup.controllers ]; then umount /sys/fs/cgroup/unified 2> /dev/null || true; fi

work=$(mktemp -d)
store=${STORE:-$work/store}
engine=(--root "$store/images" --runroot "$store/run")
name=embedder-try-$$
image=${IMAGE:-embedder:try}
base=$(sed -n 's/^ARG BASE=//p' Dockerfile)
port=$(sed -n 's/^EXPOSE //p' Dockerfile)

podman() { command podman "${engine[@]}" --cgroup-manager=cgroupfs "$@"; }

cleanup() {
  podman rm --force --volumes "$name" > /dev/null 2>&1 || true
  podman volume rm "$name-data" > /dev/null 2>&1 || true
  if [ -z "${STORE:-}" ]; then podman system reset --force > /dev/null 2>&1 || true; fi
  rm -rf "$work"
}
trap cleanup EXIT

say() { printf '\n== %s\n' "$*"; }
fail() { printf 'FAILED: %s\n' "$*" >&2; podman logs "$name" >&2 || true; exit 1; }

build_base() {
  podman image exists "$base" && return
  say "the base $base from Debian's packages"
  mmdebstrap --quiet --variant=minbase --include=ca-certificates,netbase,tzdata,python3,python3-venv,python3-pip \
    bookworm "$work/base.tar" "${SOURCES:-/etc/apt/sources.list.d/debian.sources}"
  podman import --quiet "$work/base.tar" "docker.io/library/$base"
}

build_image() {
  say "the image of Dockerfile"
  options=()
  if [ -n "${WHEELS:-}" ]; then
    printf '[global]\nno-index = true\nfind-links = /wheels\n' > "$work/pip.conf"
    options=(--volume "$(realpath "$WHEELS"):/wheels:ro")
    PIP_CONF=$work/pip.conf
  fi
  if [ -n "${PIP_CONF:-}" ]; then options+=(--secret "id=pip,src=$PIP_CONF"); fi
  # Stated arguments, because buildah finds the stages of a multi-stage file before it reads defaults.
  buildah build "${engine[@]}" --isolation chroot --format docker --layers --pull-never "${options[@]}" \
    --build-arg BASE="$base" --build-arg TORCH=cpu --build-arg MODEL="${MODEL:-minilm}" \
    --build-arg REVISION="$(git rev-parse HEAD 2> /dev/null || true)" --tag "$image" .
  podman history --format '{{.Size}}\t{{.CreatedBy}}' "$image" | grep -v '^0 B'
  podman images --format '{{.Repository}}:{{.Tag}} {{.Size}}'
}

# A network of its own with loopback alone: nothing on this machine is reached.
start() {
  podman rm --force "$name" > /dev/null 2>&1 || true
  podman run --detach --name "$name" --cgroups=disabled --network none --no-healthcheck --shm-size 2g \
    --ulimit nofile=16384:16384 --ulimit nproc=16384:16384 \
    --read-only --read-only-tmpfs=false --tmpfs /tmp --cap-drop all --security-opt no-new-privileges \
    --volume "$name-data:/data" "$@" > /dev/null
  began=$SECONDS
  until health; do
    [ "$(podman inspect --format '{{.State.Running}}' "$name")" = true ] || fail "the container has ended"
    [ $((SECONDS - began)) -lt 300 ] || fail "not healthy within 300 s"
    sleep 1
  done
  echo "healthy after $((SECONDS - began)) s"
}

health() { podman exec "$name" "${probe[@]}" > "$work/health" 2>&1; }

post() {  # path, body, further options of curl
  nsenter --target "$(podman inspect --format '{{.State.Pid}}' "$name")" --net \
    curl --silent --show-error --max-time 60 "http://127.0.0.1:$port$1" \
    --header 'content-type: application/json' --data "$2" "${@:3}"
}

end() {
  began=$SECONDS
  podman stop --time 90 "$name" > /dev/null
  status=$(podman inspect --format '{{.State.ExitCode}}' "$name")
  [ "$status" = 0 ] || fail "after SIGTERM the exit status is $status"
  echo "ended after $((SECONDS - began)) s with exit status 0"
}

check_process() {
  podman exec "$name" sh -c '
    for status in /proc/[0-9]*/status; do awk "/^(Uid|State|CapEff)/ { print \$1, \$2 }" $status; done 2> /dev/null | sort | uniq -c
    grep -qE "^\S+ / \S+ ro," /proc/mounts || exit 1
    cat /proc/1/comm' > "$work/processes" || fail "the root file system can be written"
  cat "$work/processes"
  if grep -q 'Uid: 0$' "$work/processes"; then fail "a process runs as root"; fi
  if grep -q 'State: Z' "$work/processes"; then fail "an ended process was not reaped"; fi
  if grep 'CapEff:' "$work/processes" | grep -qv 'CapEff: 0*$'; then fail "a process has capabilities"; fi
}

check_first_request() {
  request=$(grep -m 1 -o '{"model":"all-MiniLM-L6-v2","input":"hello world"}' README.md)
  post /v1/embeddings "$request" | cut -d, -f 1-9 | tee "$work/answer"
  # Number formats differ with the processor: bfloat16 where it has it, else float32.
  python3 - "$work/answer" <<'PYTHON' || fail "the vector is not that of README.md"
import re, sys
numbers = lambda text: [float(one) for one in re.findall(r"-?0\.\d+", text)][:6]
answer, readme = numbers(open(sys.argv[1]).read()), numbers(re.search(r'"embedding":\[(.*)', open("README.md").read())[1])
sys.exit(len(answer) != 6 or max(abs(a - b) for a, b in zip(answer, readme)) > 2e-3)
PYTHON
}

if [ -z "${IMAGE:-}" ]; then
  build_base
  build_image
fi
# The image's HEALTHCHECK, without the word CMD before it.
mapfile -t probe < <(podman image inspect --format '{{range .HealthCheck.Test}}{{println .}}{{end}}' "$image" | sed '1d;/^$/d')
[ "${#probe[@]}" -gt 0 ] || fail "the image has no HEALTHCHECK"

outside=()
if [ "${MODEL:-minilm}" = none ]; then
  [ -d "${MODEL_DIRECTORY:-}" ] || { echo "MODEL_DIRECTORY must be the folder of all-MiniLM-L6-v2" >&2; exit 1; }
  outside=(--volume "$(realpath "$MODEL_DIRECTORY"):/models/all-MiniLM-L6-v2:ro" --env EMBEDDER_MODEL__NAME=/models/all-MiniLM-L6-v2)
fi

say "without keys, on loopback"
start "${outside[@]}" "$image" serve
cat "$work/health"
check_first_request
post /v1/collections/notes/points '{"points":[{"id":"cat","text":"A kitten sleeps on the sofa."}]}'; echo
check_process
end

say "with a key, on every address, with the data of the first run"
key=emb-try
digest=$(printf %s "$key" | sha256sum | cut -d ' ' -f 1)
start "${outside[@]}" --env "EMBEDDER_KEYS=[{\"name\":\"try\",\"sha256\":\"$digest\"}]" "$image"
search='{"text":"a young cat","top_k":1,"include":["text"]}'
[ "$(post /v1/collections/notes/search "$search" --output /dev/null --write-out '%{http_code}')" = 401 ] || fail "no key was asked for"
post /v1/collections/notes/search "$search" --header "authorization: Bearer $key" | tee "$work/found"; echo
grep -q kitten "$work/found" || fail "the stored point is not found"
# A process whose parent has ended belongs to the first process of the container.
podman exec "$name" sh -c 'sleep 1 &'
sleep 3
check_process
end
say "all checks have passed"
