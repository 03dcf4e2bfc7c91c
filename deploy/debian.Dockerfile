# PostgreSQL and Prometheus from Debian's packages, for where no registry is reachable:
#   docker build -f deploy/debian.Dockerfile --target postgres -t slipway-postgres deploy
#   docker build -f deploy/debian.Dockerfile --target prometheus -t slipway-prometheus deploy
ARG BASE=slipway-base:bookworm
FROM ${BASE} AS postgres
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends postgresql-15 \
 && rm -rf /var/lib/apt/lists/*
COPY postgres/entrypoint /usr/local/bin/entrypoint
RUN mkdir -p /var/lib/postgresql/data && chown postgres:postgres /var/lib/postgresql/data
USER postgres
ENTRYPOINT ["/usr/local/bin/entrypoint"]

FROM ${BASE} AS prometheus
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends prometheus \
 && rm -rf /var/lib/apt/lists/* && mkdir -p /prometheus && chown nobody /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
