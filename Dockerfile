# The image that the templates of scripts/launch.py name:
#   docker build -t jaxga:latest .                                 CPU
#   docker build -t jaxga:latest --build-arg EXTRAS=gpu,games,ray .   NVIDIA, CUDA 13 (its driver comes from the host)
FROM python:3.12-slim

ARG EXTRAS=games,ray
ENV PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1
WORKDIR /opt/jaxga

COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN pip install ".[${EXTRAS}]"
COPY experiments experiments
COPY scripts scripts

RUN useradd --create-home evolve && mkdir /runs && chown evolve /runs
USER evolve
VOLUME /runs
CMD ["jaxga", "doctor"]
