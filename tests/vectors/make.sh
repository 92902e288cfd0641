#!/usr/bin/env bash
# Makes every vector in this directory anew, with ssh-keygen and openssl; see README.md.
#
# Needs an ssh-keygen that still knows DSA (before OpenSSH 10) and openssl 3. The keys are new each time, so all files
# change together. What no tool writes any more or without hardware (v00 certificates, sk keys) is put together here
# from the fields of real keys.
set -euo pipefail
cd "$(dirname "$0")"
umask 077

tmp=$(mktemp -d)
# Those of OpenSSH 10.4 stay: no earlier ssh-keygen can make them.
grep mldsa44 public.tsv >"$tmp/mldsa44.tsv"
find public -type f ! -name 'mldsa44-*' -delete
rm -rf private public.tsv
mkdir -p public private/plain private/encrypted
trap 'rm -rf "$tmp"' EXIT

# RFC 4251 types, written to standard output.
# shellcheck disable=SC2059 # the bytes are in the format
u32() { printf "\\x$(printf %02x $(($1 >> 24 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 & 255)))"; }
string() { u32 "${#1}"; printf %s "$1"; }
string_file() { u32 "$(stat -c %s "$1")"; cat "$1"; }
blob() { cut -d' ' -f2 "$1" | base64 -d; }
# The fields of a plain key after its type name: fields FILE TYPE
fields() { blob "$1" | tail -c +$((4 + ${#2} + 1)); }
line() { printf '%s %s %s\n' "$1" "$(base64 -w0)" "$2"; }

# A row of public.tsv: file, type, bits, MD5, SHA256 as `ssh-keygen -l` prints them for LINE. row FILE TYPE LINE
row() {
  local md5 sha256
  md5=$(ssh-keygen -l -E md5 -f "$3")
  sha256=$(ssh-keygen -l -E sha256 -f "$3")
  printf '%s\t%s\t%s\t%s\t%s\n' "$1" "$2" "${md5%% *}" "$(cut -d' ' -f2 <<<"$md5" | sed s/^MD5://)" \
    "$(cut -d' ' -f2 <<<"$sha256")" >>public.tsv
}

# Plain keys, public: the line, and every other form that a tool writes of it.
while read -r name type bits; do
  ssh-keygen -q -t "$type" ${bits:+-b "$bits"} -N '' -C "vector $name" -f "$tmp/$name"
  cp "$tmp/$name.pub" "public/$name.pub"
  key_type=$(cut -d' ' -f1 "public/$name.pub")
  row "public/$name.pub" "$key_type" "public/$name.pub"
  # The comment that ssh-keygen writes names the user and the machine, which are nobody's business.
  ssh-keygen -e -m RFC4716 -f "$tmp/$name.pub" | sed 's/ by [^ ]* from / by me@example.com from /' \
    >"public/$name.rfc4716"
  row "public/$name.rfc4716" "$key_type" "public/$name.pub"
  if [ "$type" = ed25519 ]; then
    # ssh-keygen 9.2 has no SPKI for Ed25519; its DER is a constant beginning and the 32 bytes of the key.
    { printf '\x30\x2a\x30\x05\x06\x03\x2b\x65\x70\x03\x21\x00'; blob "public/$name.pub" | tail -c 32; } |
      openssl pkey -pubin -inform DER -out "public/$name.spki"
  else
    ssh-keygen -e -m PKCS8 -f "$tmp/$name.pub" >"public/$name.spki"
  fi
  row "public/$name.spki" "$key_type" "public/$name.pub"
  if [ "$type" = rsa ]; then
    ssh-keygen -e -m PEM -f "$tmp/$name.pub" >"public/$name.pkcs1"
    row "public/$name.pkcs1" "$key_type" "public/$name.pub"
  fi
done <<'KEYS'
rsa1024 rsa 1024
rsa2048 rsa 2048
rsa3070 rsa 3070
dsa dsa
ecdsa256 ecdsa 256
ecdsa384 ecdsa 384
ecdsa521 ecdsa 521
ed25519 ed25519
KEYS

# Keys in FIDO tokens: the fields of a plain key, and an application.
{ string sk-ssh-ed25519@openssh.com; fields public/ed25519.pub ssh-ed25519; string ssh:; } |
  line sk-ssh-ed25519@openssh.com 'vector sk-ed25519' >public/sk-ed25519.pub
{ string sk-ecdsa-sha2-nistp256@openssh.com; fields public/ecdsa256.pub ecdsa-sha2-nistp256; string ssh:test; } |
  line sk-ecdsa-sha2-nistp256@openssh.com 'vector sk-ecdsa' >public/sk-ecdsa.pub
for name in sk-ed25519 sk-ecdsa; do
  row "public/$name.pub" "$(cut -d' ' -f1 "public/$name.pub")" "public/$name.pub"
done

# Certificates: every kind of key, by every kind of authority.
for authority in rsa2048 dsa ecdsa256 ecdsa384 ecdsa521 ed25519; do
  for name in rsa2048 dsa ecdsa256 ecdsa384 ecdsa521 ed25519 sk-ed25519 sk-ecdsa; do
    # All pairs would be many; one authority signs for all, the others for one key each.
    [ "$authority" = ed25519 ] || [ "$name" = ed25519 ] || continue
    cert=$name-by-$authority
    cp "public/$name.pub" "$tmp/$cert.pub"
    if [ "$authority" = ecdsa256 ]; then
      ssh-keygen -q -s "$tmp/$authority" -I "host $cert" -h -n a.example.com,b.example.com "$tmp/$cert.pub"
    else
      ssh-keygen -q -s "$tmp/$authority" -I "user $cert" -n alice,bob -z 42 -V 20200101:20300101 \
        -O force-command=/bin/true -O source-address=192.0.2.0/24 -O no-pty "$tmp/$cert.pub"
    fi
    mv "$tmp/$cert-cert.pub" "public/$cert.cert"
    row "public/$cert.cert" "$(cut -d' ' -f1 "public/$cert.cert")" "public/$cert.cert"
  done
done
ssh-keygen -q -s "$tmp/rsa2048" -t ssh-rsa -I 'sha1' "$tmp/ed25519.pub"
mv "$tmp/ed25519-cert.pub" public/ed25519-by-rsa-sha1.cert
row public/ed25519-by-rsa-sha1.cert ssh-ed25519-cert-v01@openssh.com public/ed25519-by-rsa-sha1.cert

# v00 certificates of OpenSSH 5.4, really signed with ssh-rsa. Their fingerprint is that of the plain key.
openssl rand 16 >"$tmp/nonce"
cp "$tmp/rsa2048" "$tmp/signer"
ssh-keygen -q -p -m PEM -N '' -f "$tmp/signer" >"$tmp/log"
{ string alice; string bob; } >"$tmp/principals"
{ string force-command; { string /bin/true; } >"$tmp/option"; string_file "$tmp/option"; } >"$tmp/constraints"
blob public/rsa2048.pub >"$tmp/authority"
while read -r name plain type; do
  {
    string "$type"; fields "public/$name.pub" "$plain"
    u32 1; string "user $name"; string_file "$tmp/principals"
    printf '\0\0\0\0\0\0\0\0\377\377\377\377\377\377\377\377'
    string_file "$tmp/constraints"; string_file "$tmp/nonce"; string ''; string_file "$tmp/authority"
  } >"$tmp/body"
  openssl dgst -sha1 -sign "$tmp/signer" -out "$tmp/value" "$tmp/body"
  { string ssh-rsa; string_file "$tmp/value"; } >"$tmp/signature"
  { cat "$tmp/body"; string_file "$tmp/signature"; } | line "$type" "vector $name v00" >"public/$name-v00.cert"
  row "public/$name-v00.cert" "$type" "public/$name.pub"
done <<'KEYS'
rsa2048 ssh-rsa ssh-rsa-cert-v00@openssh.com
dsa ssh-dss ssh-dss-cert-v00@openssh.com
KEYS

# Private keys in every encoding, plain and encrypted. FILE is named after the line of the key in public/.
for name in rsa2048 rsa3070 ecdsa256 ecdsa384 ecdsa521 ed25519; do
  cp "$tmp/$name" "private/plain/$name.openssh"
  if [ "$name" = ed25519 ]; then
    # Neither tool takes an OpenSSH Ed25519 key to PKCS#8; its DER is a constant beginning and the 32 bytes of the
    # seed, which stand before the public key near the end of the file, at a place that its fixed lengths tell.
    { printf '\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20'
      grep -v -- ----- "$tmp/$name" | base64 -d | tail -c +162 | head -c 32; } |
      openssl pkey -inform DER -out "private/plain/$name.pkcs8"
  else
    cp "$tmp/$name" "$tmp/key"
    ssh-keygen -q -p -m PKCS8 -N '' -f "$tmp/key" >"$tmp/log"; cp "$tmp/key" "private/plain/$name.pkcs8"
    ssh-keygen -q -p -m PEM -N '' -f "$tmp/key" >"$tmp/log"; cp "$tmp/key" "private/plain/$name.traditional"
    ssh-keygen -q -p -m PEM -N secret -f "$tmp/key" >"$tmp/log"; cp "$tmp/key" "private/encrypted/$name.traditional"
  fi
  cp "private/plain/$name.openssh" "$tmp/key"
  ssh-keygen -q -p -N secret -f "$tmp/key" >"$tmp/log"; cp "$tmp/key" "private/encrypted/$name.openssh"
  openssl pkcs8 -topk8 -in "private/plain/$name.pkcs8" -passout pass:secret -out "private/encrypted/$name.pkcs8"
done
openssl ecparam -name prime256v1 -genkey -out private/plain/with-parameters.traditional
openssl pkey -in private/plain/with-parameters.traditional -out "$tmp/with-parameters"
chmod 600 "$tmp/with-parameters"
ssh-keygen -y -f "$tmp/with-parameters" >public/with-parameters.pub
row public/with-parameters.pub ecdsa-sha2-nistp256 public/with-parameters.pub

# The traditional encodings of openssl itself, and what is refused.
openssl dsa -in <(ssh-keygen -q -p -m PEM -N '' -f "$tmp/dsa" >"$tmp/log"; cat "$tmp/dsa") -out private/dsa.pem 2>"$tmp/log"
openssl ecparam -name secp256k1 -genkey -noout -out private/secp256k1.pem
openssl genrsa -traditional -out private/rsa1024.pem 1024 2>"$tmp/log"
openssl genrsa -primes 3 -traditional -out private/three-primes.pem 2048 2>"$tmp/log"
cat "$tmp/mldsa44.tsv" >>public.tsv
chmod -R u=rwX,go=rX .
