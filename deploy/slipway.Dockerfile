# Everything that is not the gateway: worker, Prefect server, MLflow server and command line.
#   docker build -f deploy/slipway.Dockerfile -t slipway --build-arg BASE=... .
ARG BASE=python:3.11-slim
FROM ${BASE} AS environment
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
COPY requirements.lock /build/
RUN python3 -m pip install --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
      --target /environment --requirement /build/requirements.lock

FROM ${BASE}
# A release of a git commit needs git.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends git \
 && rm -rf /var/lib/apt/lists/* && mkdir -p /var/lib/slipway/log /artifacts \
 && chown -R 65532:65532 /var/lib/slipway /artifacts
ENV PATH=/environment/bin:$PATH PYTHONUNBUFFERED=1 \
    HOME=/var/lib/slipway SLIPWAY_HOME=/var/lib/slipway DO_NOT_TRACK=1
COPY --from=environment /environment /environment
# Found by every child process too: a PYTHONPATH is not handed on to a team's own code.
RUN printf '/app\n/environment\n' \
      > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/slipway.pth"
COPY slipway /app/slipway
COPY tasks /app/tasks
COPY flows /app/flows
COPY examples /app/examples
COPY deployments.yaml /app/
RUN printf '#!/usr/bin/env python3\nfrom slipway.cli import main\nmain()\n' > /usr/local/bin/slipway \
 && chmod 755 /usr/local/bin/slipway
WORKDIR /app
# The ledger names this actor where nobody says who they are.
ENV LOGNAME=worker
USER 65532:65532
VOLUME /var/lib/slipway
