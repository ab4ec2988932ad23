# syntax=docker/dockerfile:1
# For production name the base by its digest, so that each build has the same one:
#   docker buildx imagetools inspect python:3.13-slim     # tells it
#   docker build --build-arg PYTHON=python:3.13-slim@sha256:... .
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
# Wheels alone: no compiler is needed, neither here nor in the image. The builder stays out of what is copied on.
RUN python -m venv /opt/infobip-exporter \
    && /opt/infobip-exporter/bin/pip install --no-compile --require-hashes --only-binary=:all: -r requirements.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary=:all: -r requirements-build.txt
COPY pyproject.toml LICENSE README.md ./
COPY infobip_exporter infobip_exporter
COPY infobip_sandbox infobip_sandbox
RUN SOURCE_DATE_EPOCH=0 /opt/build/bin/python -m hatchling build -t wheel \
    && /opt/infobip-exporter/bin/pip install --no-compile --no-deps --no-index dist/*.whl \
    && /opt/infobip-exporter/bin/python -m pip uninstall -y pip \
    && /opt/infobip-exporter/bin/python -m compileall -q --invalidation-mode unchecked-hash /opt/infobip-exporter/lib

FROM ${PYTHON}
# The state's folder belongs to the group 0 too, for platforms that choose the user (OpenShift). The base has no bytecode
# of the standard library: compiled here, a start takes half the time.
RUN groupadd --gid 10470 infobip-exporter \
    && useradd --no-log-init --uid 10470 --gid 10470 --no-create-home --home-dir /var/lib/infobip-exporter \
        --shell /usr/sbin/nologin infobip-exporter \
    && install -d -o 10470 -g 0 -m 0770 /var/lib/infobip-exporter \
    && install -d /etc/infobip-exporter \
    && python -m compileall -q --invalidation-mode unchecked-hash -x /site-packages/ \
        "$(python -c 'import os; print(os.path.dirname(os.__file__))')"
COPY --from=build /opt/infobip-exporter /opt/infobip-exporter
ENV PATH=/opt/infobip-exporter/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The state's default is relative to here: all that is ever written. The rest may be read-only.
WORKDIR /var/lib/infobip-exporter
VOLUME /var/lib/infobip-exporter
USER 10470:10470
EXPOSE 10470
# With TLS: -e HEALTH_URL=https://127.0.0.1:10470/-/healthy (the certificate is for another name, so it is not looked at).
ENV HEALTH_URL=http://127.0.0.1:10470/-/healthy
# buildah and podman keep it only with --format docker.
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["python", "-m", "infobip_exporter.health"]
# The first process of a container loses a signal that comes before Python can catch it; a blocked one waits.
ENTRYPOINT ["env", "--block-signal=TERM", "infobip-exporter"]
# Mount the configuration there: inside the volume it would leave an empty file behind.
CMD ["run", "--config.file=/etc/infobip-exporter/config.yaml"]
