# mfenvs with the CUDA build of torch. From the repository's root:
# docker build -f docker/cuda.Dockerfile -t mfenvs:cuda .
# Torch 2.13 is built for CUDA 13.0 and installs that release's libraries as wheels: the smallest of NVIDIA's images of
# it is enough.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d
ARG CUDA_IMAGE=nvidia/cuda:13.0.2-base-ubuntu24.04@sha256:2ab6381d970b211fb93853796dc6707eb8a72575a375c422b17cf4d8b2641701

FROM ${PYTHON_IMAGE} AS python

FROM ${CUDA_IMAGE} AS base
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/home/mfenvs \
    LANG=C.UTF-8 \
    MFENVS_OUT=/out \
    MPLBACKEND=agg \
    MPLCONFIGDIR=/opt/cache/matplotlib \
    NUMBA_CACHE_DIR=/opt/cache/kernels \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility \
    NVIDIA_VISIBLE_DEVICES=all \
    PYTHONUNBUFFERED=1
# The interpreter of the other image, for which the constraints are tested: this base has none, or another version.
COPY --from=python /usr/local/bin/ /usr/local/bin/
COPY --from=python /usr/local/lib/ /usr/local/lib/
# What the interpreter links to. The base's digest decides the release; security updates of it are welcome.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends \
        ca-certificates libbz2-1.0 libexpat1 libffi8 liblzma5 libncursesw6 libreadline8 libsqlite3-0 libssl3 \
        libuuid1 netbase tzdata zlib1g \
    && rm -rf /var/lib/apt/lists/* \
    && ldconfig \
    && python3 -c "import bz2, ctypes, curses, lzma, readline, sqlite3, ssl, uuid, zlib"
# Whoever runs the image may write results and a home, as any uid.
RUN groupadd --gid 10001 mfenvs \
    && useradd --no-log-init --uid 10001 --gid mfenvs --create-home --shell /bin/bash mfenvs \
    && mkdir /out \
    && chmod 1777 /out /home/mfenvs

FROM base AS builder
ARG EXTRAS=test
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /opt/mfenvs
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
# The wheel of torch on the default index is the CUDA build; its release of CUDA must be the base's. The package is
# installed in editable mode, as in a clone, so that changed sources need no new installation.
RUN python3 -m venv /opt/venv \
    && mkdir mfenvs baselines \
    && touch mfenvs/__init__.py baselines/__init__.py \
    && pip install --constraint constraints.txt torch --editable ".[${EXTRAS}]" \
    && pip check \
    && pip freeze --exclude-editable > /opt/venv/installed.txt \
    && python -c "import os, torch; assert os.environ['CUDA_VERSION'].startswith(f'{torch.version.cuda}.'), torch.version.cuda"
COPY mfenvs/ mfenvs/
COPY baselines/ baselines/
COPY docker/cpu.sh docker/warm.sh docker/warm.py docker/
ARG KERNELS_FOR=""
RUN bash docker/warm.sh
COPY . .
RUN python -m compileall -q --invalidation-mode checked-hash . \
    && chmod -R a+rX /opt/mfenvs /opt/cache \
    && find /opt/cache -type d -exec chmod 1777 {} +

FROM base
ARG VERSION=0.1.0
ARG REVISION=unknown
ARG CREATED=unknown
LABEL org.opencontainers.image.title="mfenvs" \
      org.opencontainers.image.description="Games with very many agents, their mean-field games, and trainers; for NVIDIA GPUs" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.created="${CREATED}"
# Everything is compiled already.
ENV PYTHONDONTWRITEBYTECODE=1
COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /opt/cache /opt/cache
COPY --from=builder /opt/mfenvs /opt/mfenvs
USER 10001:10001
WORKDIR /out
ENTRYPOINT ["/bin/bash", "/opt/mfenvs/docker/entrypoint.sh"]
CMD ["help"]
