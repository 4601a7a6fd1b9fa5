# A bundle as an image: its files under /models/, which is where KServe's oci:// and Kubernetes' image volumes expect them.
# `make bundle-image NAME=my-model` builds it from the directory of a model, with one directory per version.
# The shell is for KServe's oci:// (modelcar), which runs a container of this image beside the server.
ARG BASE=busybox:1.37.0

FROM ${BASE}
ARG NAME=bundle
ARG VERSION=unknown
LABEL org.opencontainers.image.title="${NAME}" \
      org.opencontainers.image.description="A bundle of bertbundle-export: data only" \
      org.opencontainers.image.version="${VERSION}"
COPY . /models/
USER 1000:1000
