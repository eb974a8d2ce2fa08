# One file for three images: --target node, coordinator or page. README.md in nodes/ and coordinator/ says how.
#
# BASE needs Python 3.11 with venv, glibc and libstdc++. With WHEELS, a folder of this repository that
# `make wheels` has filled, nothing is fetched from anywhere.
ARG BASE=python:3.11-slim-bookworm

FROM ${BASE} AS build
ARG WHEELS=
COPY . /src
WORKDIR /src
RUN python3.11 -m venv /opt/fedpriv \
 && /opt/fedpriv/bin/python -m pip install --no-cache-dir --disable-pip-version-check \
        --constraint constraints.txt ${WHEELS:+--no-index --find-links "$WHEELS"} . \
 && /opt/fedpriv/bin/python -m pip uninstall --yes pip

# What is left for run time: nothing that installs, nothing that raises rights.
FROM ${BASE} AS stripped
COPY --from=build /opt/fedpriv /opt/fedpriv
RUN echo 'fedpriv:x:10001:10001::/var/lib/fedpriv:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'fedpriv:x:10001:' >> /etc/group \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/fedpriv \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && find / -xdev -type d \( -path '*-packages/pip' -o -path '*-packages/pip-*' -o -name ensurepip \) \
        -prune -exec rm -rf {} + \
 && rm -rf /usr/share/python-wheels /usr/lib/apt /var/lib/apt /var/cache/apt /etc/apt /root/.cache \
        /usr/local/bin/pip* /usr/bin/pip* /usr/bin/apt* /usr/bin/dpkg* /usr/sbin/dpkg* /sbin/apk

# One layer, so that what was removed is in no image at all.
FROM scratch AS runtime
COPY --from=stripped / /
ENV PATH=/opt/fedpriv/bin:/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
ARG VERSION=unknown
ARG REVISION=unknown
LABEL org.opencontainers.image.title="fedpriv" \
      org.opencontainers.image.description="Privacy-first federated learning for hospitals" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
USER 10001:10001
WORKDIR /var/lib/fedpriv
ENTRYPOINT ["/opt/fedpriv/bin/fedpriv"]

FROM runtime AS node
LABEL org.opencontainers.image.title="fedpriv-node"
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s --retries=2 \
    CMD ["/opt/fedpriv/bin/fedpriv", "node", "status", "--healthy"]
CMD ["node", "start", "--log-json"]

FROM runtime AS coordinator
LABEL org.opencontainers.image.title="fedpriv-coordinator"
EXPOSE 9092
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=2 \
    CMD ["/opt/fedpriv/bin/fedpriv", "coordinator", "status", "--healthy"]
CMD ["coordinator", "start", "--log-json"]

FROM runtime AS page
LABEL org.opencontainers.image.title="fedpriv-page"
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=2 \
    CMD ["/opt/fedpriv/bin/python", "-c", "import ssl, urllib.request as r; r.urlopen('https://127.0.0.1:8000/healthz', timeout=5, context=ssl._create_unverified_context())"]
CMD ["page", "start", "--home", "/var/lib/fedpriv", "--model", "/model", "--host", "0.0.0.0", "--cert", "/tls/certificate.pem", "--key", "/tls/key.pem"]
