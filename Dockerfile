# CPU:   docker build -t awsrn_fast .
# CUDA:  docker build -t awsrn_fast:cuda --build-arg CUDA=13.0.1 --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu130 .
# Run:   docker run --rm -v "$PWD:/work" awsrn_fast upscale photo.jpg -o photo_x4.png        (CUDA: --gpus all)
ARG CUDA=
ARG BASE=${CUDA:+nvidia/cuda:${CUDA}-devel-ubuntu24.04}
ARG RUNTIME=${CUDA:+nvidia/cuda:${CUDA}-base-ubuntu24.04}

FROM ${BASE:-ubuntu:24.04} AS build
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/awsrn_fast
ENV PATH=/opt/awsrn_fast/bin:$PATH
ARG TORCH=2.13.0
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN pip install --no-cache-dir "torch==${TORCH}" --index-url "${TORCH_INDEX}"
COPY . /src
# Where the base image has nvcc the CUDA library is built, too.
RUN AWSRN_FAST_NATIVE=1 pip install --no-cache-dir '/src[export,heif]'

FROM ${RUNTIME:-ubuntu:24.04}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgomp1 python3 \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /opt/awsrn_fast /opt/awsrn_fast
ENV PATH=/opt/awsrn_fast/bin:$PATH
USER 1000
WORKDIR /work
ENTRYPOINT ["awsrn-fast"]
CMD ["info"]
