# One file for three images: --target node, coordinator or page. README.md in nodes/ and coordinator/ says how.
#
# BASE needs Python 3.11 with venv, glibc and libstdc++. With WHEELS, a folder of this repository that
# `make wheels` has filled, nothing is fetched from anywhere.
ARG BASE=python:3.11-slim-bookworm

# Everything but fedpriv itself: a layer that stays the same until constraints.txt or pyproject.toml changes.
FROM ${BASE} AS dependencies
ARG WHEELS=
WORKDIR /src
COPY pyproject.toml ./
COPY fedpriv/__init__.py fedpriv/
# The brackets let the folder be missing; what is copied is what lies in it.
COPY constraints.txt wheel[s] wheels/
RUN touch README.md \
 && python3.11 -m venv /opt/pip \
 && python3.11 -m venv --without-pip /opt/fedpriv \
 && /opt/pip/bin/pip --python /opt/fedpriv/bin/python install --no-cache-dir --disable-pip-version-check \
        --constraint wheels/constraints.txt ${WHEELS:+--no-index --find-links wheels} . \
 && /opt/pip/bin/pip --python /opt/fedpriv/bin/python uninstall --yes fedpriv \
 && echo /opt/app > /opt/fedpriv/lib/python3.11/site-packages/app.pth

FROM dependencies AS package
ARG WHEELS=
COPY README.md ./
COPY fedpriv fedpriv
RUN /opt/pip/bin/pip --python /opt/fedpriv/bin/python install --no-cache-dir --disable-pip-version-check \
        --no-deps --target /opt/app ${WHEELS:+--no-index --find-links wheels} .

# What is left of the base for run time: nothing that installs, nothing that raises rights.
FROM ${BASE} AS stripped
RUN echo 'fedpriv:x:10001:10001::/var/lib/fedpriv:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'fedpriv:x:10001:' >> /etc/group \
 && install -d -o 10001 -g 10001 -m 0700 /var/lib/fedpriv \
 && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
 && find / -xdev -type d \( -path '*-packages/pip' -o -path '*-packages/pip-*' -o -name ensurepip \) \
        -prune -exec rm -rf {} + \
 && rm -rf /usr/share/python-wheels /usr/lib/apt /var/lib/apt /var/cache/apt /etc/apt /root/.cache \
        /usr/local/bin/pip* /usr/bin/pip* /usr/bin/apt* /usr/bin/dpkg* /usr/sbin/dpkg* /sbin/apk

# From nothing, so that what was removed is in no layer of the image.
FROM scratch AS runtime
COPY --from=stripped / /
COPY --from=dependencies /opt/fedpriv /opt/fedpriv
COPY --from=package /opt/app /opt/app
ENV PATH=/opt/app/bin:/opt/fedpriv/bin:/usr/local/bin:/usr/bin:/bin \
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
ENTRYPOINT ["/opt/app/bin/fedpriv"]

FROM runtime AS node
LABEL org.opencontainers.image.title="fedpriv-node"
HEALTHCHECK --interval=30s --timeout=10s --start-period=180s --retries=2 \
    CMD ["/opt/app/bin/fedpriv", "node", "status", "--healthy"]
CMD ["node", "start", "--log-json"]

FROM runtime AS coordinator
LABEL org.opencontainers.image.title="fedpriv-coordinator"
EXPOSE 9092
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=2 \
    CMD ["/opt/app/bin/fedpriv", "coordinator", "status", "--healthy"]
CMD ["coordinator", "start", "--log-json"]

FROM runtime AS page
LABEL org.opencontainers.image.title="fedpriv-page"
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=2 \
    CMD ["/opt/app/bin/fedpriv", "page", "status", "--tls"]
CMD ["page", "start", "--model", "/model", "--host", "0.0.0.0", "--cert", "/tls/certificate.pem", "--key", "/tls/key.pem"]
