# The programs of a team's server: MLflow with login, optuna-dashboard and what prepares, saves and restores their
# stores. docker/compose.yaml builds it.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm
FROM ${PYTHON_IMAGE}

# uv downloads the packages side by side and stays out of the image. They are compiled here, since the file system of a
# container is read-only.
WORKDIR /opt/mergershift
COPY docker/server.lock .
RUN python -m pip install --quiet --no-cache-dir --target /tmp/uv uv==0.13.9 \
    && export UV_NO_CACHE=1 VIRTUAL_ENV=/opt/mergershift/venv \
    && python -m venv --without-pip "$VIRTUAL_ENV" \
    && /tmp/uv/bin/uv pip install --quiet --no-deps --require-hashes -r server.lock \
    && rm -rf /tmp/uv \
    && { python -m compileall -qq -j 0 -x '/tests?/' "$VIRTUAL_ENV" || true; }
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN python -m pip --python venv install --quiet --no-cache-dir --no-deps --editable . \
    && python -m compileall -qq src

# A new volume takes over the owner of the folder that it is mounted on.
RUN useradd --uid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin mergershift \
    && install --directory --owner mergershift --group mergershift --mode 750 /artifacts
COPY docker/stores.py .
WORKDIR /tmp
ENV PATH=/opt/mergershift/venv/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1
USER mergershift
CMD ["mergershift", "server", "--help"]
