# shellcheck shell=bash
# Images without a container engine or a registry: a folder becomes a docker-archive.

# archive IMAGE DOCKERFILE ROOT OUTPUT: the Dockerfile starts from scratch and copies the folder ROOT.
archive() {
  local image="$1" dockerfile="$2" root="$3" output="$4" storage
  storage="$(mktemp -d)" # The file system of an image is in it once, and in the archive; nothing is kept.
  local buildah=(buildah --root "$storage/root" --runroot "$storage/run" --storage-driver vfs)
  mkdir -p "$(dirname "$output")"
  "${buildah[@]}" bud --quiet --isolation chroot --timestamp 0 --tag "$image" --file "$dockerfile" "$root" >/dev/null
  rm -f "$output.new"
  "${buildah[@]}" push --quiet "$image" "docker-archive:$output.new:$image" >/dev/null
  mv "$output.new" "$output"
  rm -rf "$storage"
}

# put PROGRAM ROOT FOLDER: with the loader and the shared libraries that it names, each in the place where the loader looks.
put() {
  local program="$1" root="$2" folder="$3" library
  mkdir -p "$root$folder"
  cp -L "$program" "$root$folder/"
  while read -r library; do
    mkdir -p "$root$(dirname "$library")"
    cp -L "$library" "$root$library"
  done < <(libraries_of "$program")
}

# A static program names none, and `ldd` fails on it.
libraries_of() {
  ldd "$1" 2>/dev/null | grep -o '/[^ ]*' || true
}
