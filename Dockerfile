# The worker: Prefect, the flows and the Azure SDK. No torch, no emulator, not root, no secrets.
#
#   docker build --tag fine-tune-worker:0.1.0 .
#
# It was written where no container engine was to be had: unbuilt. Pin the base by its digest when
# you first build it (docker buildx imagetools inspect python:3.11.13-slim-bookworm).
ARG BASE=python:3.11.13-slim-bookworm

FROM ${BASE} AS build
WORKDIR /app
COPY pyproject.toml requirements.lock README.md LICENSE ./
COPY flows flows
COPY tasks tasks
COPY finetuning finetuning
COPY deployments deployments
COPY commands commands
RUN python -m venv /venv \
    && /venv/bin/pip install --no-cache-dir --constraint requirements.lock --editable '.[pools]'

FROM ${BASE}
RUN useradd --uid 10001 --create-home worker
WORKDIR /app
COPY --from=build /venv /venv
COPY --from=build /app /app
COPY prefect.yaml prefect.toml .prefectignore ./
# All that is written while it runs goes below var or /tmp: the rest may be mounted read-only.
RUN mkdir --parents var/home && chown --recursive 10001 var
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/app/var/home \
    FINETUNE_DATA=/app/var/data \
    PREFECT_HOME=/app/var/prefect \
    PREFECT_UI_STATIC_DIRECTORY=/app/var/ui \
    HF_HOME=/app/var/huggingface \
    MPLCONFIGDIR=/app/var/matplotlib \
    PREFECT_FLOWS_HEARTBEAT_FREQUENCY=30 \
    PREFECT_LOGGING_FORMATTERS_JSON_CLASS=deployments.json_lines.JsonLines \
    PREFECT_LOGGING_HANDLERS_CONSOLE_FORMATTER=json \
    DO_NOT_TRACK=1
USER 10001
VOLUME /app/var
CMD ["prefect", "worker", "start", "--pool", "fine-tune"]
