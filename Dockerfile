# restyle on a CPU.
#
#   docker build -t restyle .
#   docker run --rm -v "$PWD:/data" -v restyle-models:/models restyle invert photo.jpg -n 5
FROM python:3.12-slim

# OpenCV loads these libraries when it is imported.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 \
    && rm -rf /var/lib/apt/lists/*

# uv can choose the CPU build of PyTorch; pip would install the CUDA libraries too.
RUN pip install --no-cache-dir uv

COPY pyproject.toml README.md LICENSE /source/
COPY restyle_cli /source/restyle_cli
COPY weights /source/weights
RUN uv pip install --system --no-cache --torch-backend=cpu /source

# Downloaded models. Writable for everyone, so that `docker run --user` works.
ENV RESTYLE_HOME=/models
RUN mkdir --mode=1777 /models
VOLUME /models

WORKDIR /data
ENTRYPOINT ["restyle"]
CMD ["--help"]
