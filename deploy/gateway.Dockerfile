# The gateway alone: what answers users needs neither Prefect nor MLflow.
#   docker build -f deploy/gateway.Dockerfile -t slipway-gateway --build-arg BASE=... .
ARG BASE=python:3.11-slim
FROM ${BASE} AS environment
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_CERT
COPY requirements.lock deploy/pick.py /build/
RUN python3 /build/pick.py /build/requirements.lock duckdb httptools msgspec psycopg psycopg-binary \
      sqlalchemy typing-extensions uvloop > /build/gateway.txt \
 && python3 -m pip install --disable-pip-version-check --no-cache-dir --no-deps --require-hashes \
      --target /environment --requirement /build/gateway.txt

FROM ${BASE}
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
COPY --from=environment /environment /environment
# Found by every child process too: a PYTHONPATH is not handed on to a team's own code.
RUN printf '/app\n/environment\n' \
      > "$(python3 -c 'import site; print(site.getsitepackages()[0])')/slipway.pth"
COPY slipway /app/slipway
# The folder of a volume is made with the owner it has here.
RUN mkdir -p /var/lib/slipway/log && chown -R 65532:65532 /var/lib/slipway
USER 65532:65532
VOLUME /var/lib/slipway
EXPOSE 8700
HEALTHCHECK --interval=5s --timeout=3s --start-period=10s --retries=3 CMD ["python3", "-c", \
  "import http.client as h; c = h.HTTPConnection('127.0.0.1', 8700, timeout=2); c.request('GET', '/healthz'); raise SystemExit(c.getresponse().status != 200)"]
ENTRYPOINT ["python3", "-P", "-m", "slipway.serving.gateway", "--host", "0.0.0.0", "--port", "8700", \
  "--log", "/var/lib/slipway/log"]
