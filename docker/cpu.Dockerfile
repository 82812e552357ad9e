# mfenvs on CPUs. From the repository's root: docker build -f docker/cpu.Dockerfile -t mfenvs:cpu .
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON_IMAGE} AS base
ENV PATH=/opt/venv/bin:${PATH} \
    HOME=/home/mfenvs \
    MFENVS_OUT=/out \
    MPLBACKEND=agg \
    MPLCONFIGDIR=/opt/cache/matplotlib \
    NUMBA_CACHE_DIR=/opt/cache/kernels \
    PYTHONUNBUFFERED=1
# Whoever runs the image may write results and a home, as any uid.
RUN groupadd --gid 10001 mfenvs \
    && useradd --no-log-init --uid 10001 --gid mfenvs --create-home --shell /bin/bash mfenvs \
    && mkdir /out \
    && chmod 1777 /out /home/mfenvs

FROM base AS builder
ARG EXTRAS=test
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_ROOT_USER_ACTION=ignore
WORKDIR /opt/mfenvs
COPY pyproject.toml constraints.txt hatch_build.py README.md LICENSE ./
# Torch from its own index and by itself: elsewhere its wheel is the CUDA build. The package is installed in editable
# mode, as in a clone, so that changed sources need no new installation.
RUN python -m venv /opt/venv \
    && pip install --constraint constraints.txt --no-deps --index-url "${TORCH_INDEX}" torch \
    && mkdir mfenvs baselines \
    && touch mfenvs/__init__.py baselines/__init__.py \
    && pip install --constraint constraints.txt --editable ".[${EXTRAS}]" \
    && pip check \
    && pip freeze --exclude-editable > /opt/venv/installed.txt
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
      org.opencontainers.image.description="Games with very many agents, their mean-field games, and trainers; for CPUs" \
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
