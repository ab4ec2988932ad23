# syntax=docker/dockerfile:1
# For production name the base by digest: --build-arg PYTHON=python:3.13-slim@sha256:...
ARG PYTHON=python:3.13-slim

FROM ${PYTHON} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
COPY requirements.txt requirements-build.txt ./
# Wheels alone: nothing is compiled, neither here nor in the image. The builder stays out of what is copied on.
RUN python -m venv /opt/infobip-exporter \
    && /opt/infobip-exporter/bin/pip install --require-hashes --only-binary=:all: -r requirements.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --require-hashes --only-binary=:all: -r requirements-build.txt
COPY pyproject.toml LICENSE README.md ./
COPY infobip_exporter infobip_exporter
RUN SOURCE_DATE_EPOCH=0 /opt/build/bin/python -m hatchling build -t wheel \
    && /opt/infobip-exporter/bin/pip install --no-deps --no-index dist/*.whl \
    && /opt/infobip-exporter/bin/python -m pip uninstall -y pip

FROM ${PYTHON}
RUN useradd --system --uid 10470 --home-dir /var/lib/infobip-exporter --create-home infobip-exporter
COPY --from=build /opt/infobip-exporter /opt/infobip-exporter
ENV PATH=/opt/infobip-exporter/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# The state's default is relative to here. Mount the configuration as config.yaml, or name it with --config.file.
WORKDIR /var/lib/infobip-exporter
VOLUME /var/lib/infobip-exporter
USER 10470
EXPOSE 10470
HEALTHCHECK --interval=30s --timeout=5s --start-period=10s \
    CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:10470/-/healthy', timeout=4)"]
ENTRYPOINT ["infobip-exporter"]
