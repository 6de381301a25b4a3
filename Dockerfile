# vgg-serve in a container. Targets: cpu (the default) and cuda; `make image` builds cpu.
#
# The weights are not in the image: the first start downloads them into a volume on /models.
# hadolint global ignore=DL3008
# (DL3008: the Debian release is the pin; within it, apt-get installs the version with the security fixes.)
ARG BASE=debian:trixie-slim

FROM ${BASE} AS python
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3 \
  && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/cache/ldconfig/* /var/log/*.log /var/log/apt


# Pip and its leftovers stay in this stage.
FROM python AS installer
RUN apt-get update \
  && apt-get install --yes --no-install-recommends python3-pip \
  && rm -rf /var/lib/apt/lists/* \
  && python3 -m venv --without-pip /opt/venv
COPY docker/install.sh /

FROM installer AS packages-cpu
COPY requirements/cpu.txt /
RUN sh /install.sh /cpu.txt

FROM installer AS packages-cuda
COPY requirements/cuda.txt /
RUN sh /install.sh /cuda.txt

FROM python AS code
WORKDIR /srv/vgg-serve
COPY LICENSE docker/healthcheck.py ./
COPY models models
COPY app app
# Hashes instead of times in the .pyc files: copying a layer may change times.
RUN python3 -m compileall -q --invalidation-mode unchecked-hash app


# The image without packages and code, which are the last layers: the code changes most often.
FROM python AS service
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="vgg-serve" \
  org.opencontainers.image.description="The five most probable ImageNet classes of a photo, from VGG-16 and VGG-19." \
  org.opencontainers.image.licenses="MIT" \
  org.opencontainers.image.version="${VERSION}"
# An empty volume inherits the owner of the folder that it is mounted on. Some clusters run each container as a user
# without a name, in group 0, whoever is its user here.
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /tmp --shell /usr/sbin/nologin vgg \
  && install --directory --owner=vgg --group=0 --mode=0775 /models
ENV PATH=/opt/venv/bin:/usr/bin:/bin \
  PYTHONPATH=/srv/vgg-serve \
  PYTHONSAFEPATH=1 \
  PYTHONDONTWRITEBYTECODE=1 \
  HOME=/tmp \
  ORT_DISABLE_TELEMETRY=1 \
  VGG_HOST=0.0.0.0 \
  VGG_PORT=8000 \
  VGG_MODEL_DIR=/models
WORKDIR /srv/vgg-serve
USER 10001:10001
VOLUME ["/models"]
EXPOSE 8000
# The first start downloads 553 MB. A start that fails ends the process at once.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m --retries=3 CMD ["python", "healthcheck.py"]
# Blocked until Python can handle them: the kernel would drop a signal that reaches process 1 before that.
ENTRYPOINT ["env", "--block-signal=TERM,INT", "python", "-m", "app"]
CMD ["serve"]

FROM service AS cuda
ENV VGG_DEVICE=cuda \
  NVIDIA_VISIBLE_DEVICES=all \
  NVIDIA_DRIVER_CAPABILITIES=compute,utility
COPY --from=packages-cuda /opt/venv /opt/venv
COPY --from=code /srv/vgg-serve /srv/vgg-serve
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"

FROM service AS cpu
COPY --from=packages-cpu /opt/venv /opt/venv
COPY --from=code /srv/vgg-serve /srv/vgg-serve
ARG REVISION=unknown
LABEL org.opencontainers.image.revision="${REVISION}"
