# docker build -t hipache . ; docker run -p 8080:8080 -e REDIS_URL=redis://HOST:6379 hipache
# It runs with --read-only and as any --user. docs/containers.md.
FROM python:3.13-slim AS build
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY app ./app
COPY templates ./templates
RUN python -m venv --without-pip /opt/hipache
# Compiled here: a container that cannot write would do it at every start.
RUN python -m pip --python /opt/hipache/bin/python install --no-cache-dir '.[acme,http2]'

FROM python:3.13-slim
COPY --from=build /opt/hipache /opt/hipache
COPY packaging/image/config.json /etc/hipache/config.json
COPY packaging/image/healthy.py /opt/hipache/healthy.py
COPY packaging/image/configurable-http-proxy /opt/hipache/bin/configurable-http-proxy
ENV PATH=/opt/hipache/bin:$PATH HIPACHE_CONFIG=/etc/hipache/config.json \
    PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 65532:65532
EXPOSE 8080
# The supervisor is process 1: it stops in order on SIGTERM, and ends its workers.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s CMD ["python", "/opt/hipache/healthy.py"]
ENTRYPOINT ["hipache"]
CMD ["serve"]
