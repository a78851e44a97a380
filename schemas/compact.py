"""Compact bytes for the JSON of a `Known`: the state of the core holds one for every item, in memory.

The first byte says which: `{` is the JSON itself, 1 is zlib (RFC 1950) with DICTIONARY preset. Of a typical item,
950 bytes, that leaves about 240. A dictionary is frozen for ever once it is released: state from before, and
changelogs, can be read with it alone. Another one follows under another first byte, and this one stays for
reading. (The stream names the dictionary's checksum, so one that was changed is noticed, not misread.)
"""

from __future__ import annotations

import zlib

MAX_DOCUMENT_BYTES = 4 * 1024 * 1024
LEVEL = 3  # the levels above save 1 % and take longer
PLAIN, ZLIB = b"{", b"\x01"

# zlib likes what is frequent at the end: first rare words, then a whole document in the order of its fields
DICTIONARY = (
    b'"complex""user-agent""mutex""asn""ssdeep""imphash""tlsh""cert-sha1""cert-sha256""app-id""windows-registry-key'
    b'"process""mac""port""file-path""file-name""email-subject""email""cidr""ipv6""ipv4""url""sha512""sha1""md5'
    b'"value":"https://www."identity":""kind":"stix:relationship","relationship_type":"indicates""stix:sighting'
    b'"stix:report""stix:grouping""stix:note""stix:opinion""stix:identity","identity_class":"organization'
    b'"stix:campaign""stix:intrusion-set""stix:threat-actor""stix:attack-pattern""stix:tool""stix:vulnerability'
    b'"stix:infrastructure","infrastructure_types":["command-and-control"]"stix:malware"'
    b'"type":"malware","is_family":false,"malware_types":["spyware"]"external_references":[{"source_name":"'
    b'","url":"https://"references":[["source_ref","created_by_ref","target_ref","object_refs"joins":[["report"'
    b'"certificate""extensions":{"extension-definition--"extension_type":"property-extension"'
    b'"kill_chain_phases":[{"kill_chain_name":"lockheed-martin-cyber-kill-chain","phase_name":"mitre-attack'
    b'"valid_until":"2027-"confidence":50,"lang":"en","consent":"not-required","purpose":"pap":"tlp":"'
    b'"description":""name":"command and control"labels":["stalkerware""spyware""phishing""unknown""benign'
    b'"anomalous-activity""compromised""attribution"marking-definition--granular":true"revoked":true"gone":true'
    b'"withdrawn":[{"to":"","content":"","generation":1,"gone":[{"to":"'
    b'"}},{"to":"0","content":"","generation":0,"created_ms":17'
    b"\"pattern\":\"[file:hashes.'SHA-256' = ''[file:hashes.MD5 = ''[file:name = '.apk'[app:id = 'com."
    b"[email-addr:value = '[url:value = 'https://[ipv4-addr:value = '.net.org.com"
    b"e828b379-4e03-4974-9ac4-e53a884c97c1939a9414-2ddd-4d32-a0cd-375ea402b00355d920b0-5e8b-4f79-9ee9-91f868d9b421"
    b"bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
    b'{"kind":"campaign","value":"domain:.com","type":"grouping","counter":0,"judged":"","contributions":{},"sent":'
    b'{"numbering":"","live":[],"gone":[],"withdrawn":[]},"route":"","waiting":{},"waiting_ms":1790000000000,'
    b'"feedback":{},"ends":{},"arriving":{"":{"epoch":1790000000000,"counter":1,"copies":[{"to":"ff","id":"indicator--'
    b'","created":"2026-01-01T00:00:00.000Z","markings":["marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"],'
    b'"category":"spyware"}],"gone":"0"}},"told":"","joined":[]}'
    b'{"kind":"sha256","value":"{"kind":"domain","value":".com","type":"indicator","counter":1,"judged":"",'
    b'"contributions":{"":{"seq":1,"index":1,"object":{"type":"indicator","spec_version":"2.1","id":"indicator--'
    b'","created":"2026-01-01T00:00:00.000000Z","modified":"2026-01-01T00:00:00.000Z","indicator_types":['
    b'"malicious-activity"],"pattern":"[domain-name:value = \'.com\']","pattern_type":"stix",'
    b'"pattern_version":"2.1","valid_from":"2026-01-01T00:00:00.000Z"},"markings":[],"granular":false,"handling":{},'
    b'"revoked":false,"created_ms":1790000000000,"modified_ms":1790000000000,"first_seen_ms":1790000000000,'
    b'"last_seen_ms":1790000000000,"labels":["malicious-activity"],"value":"","count":1,"gone":false,"references":[],'
    b'"joins":[],"reached":"ff"}},"sent":{"numbering":"","live":[{"to":"ff","content":"","generation":0,'
    b'"created_ms":1790000000000,"modified_ms":1790000000000,"last_seen_ms":1790000000000}],"gone":[],"withdrawn":[]},'
    b'"route":"","waiting":{},"waiting_ms":0,"feedback":{},"ends":{},"arriving":{},"told":"","joined":[["domain",".com"'
    b"]]}"
)


def squeeze(document: bytes) -> bytes:
    """A JSON object as compact bytes, never longer. Raises `ValueError` for what `expand` would refuse."""
    if not document.startswith(PLAIN):
        raise ValueError("only the JSON of an object can be squeezed")
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"a document of {len(document)} bytes; {MAX_DOCUMENT_BYTES} are the most")
    packer = zlib.compressobj(LEVEL, zdict=DICTIONARY)
    packed = ZLIB + packer.compress(document) + packer.flush()
    return packed if len(packed) < len(document) else document


def expand(raw: bytes) -> bytes:
    """The JSON that was squeezed. Raises `ValueError` for what is damaged, or larger than MAX_DOCUMENT_BYTES."""
    if raw.startswith(PLAIN):
        if len(raw) > MAX_DOCUMENT_BYTES:
            raise ValueError(f"a document of {len(raw)} bytes; {MAX_DOCUMENT_BYTES} are the most")
        return raw
    if not raw.startswith(ZLIB):
        raise ValueError(f"no document begins with {raw[:1].hex() or 'nothing'}")
    unpacker = zlib.decompressobj(zdict=DICTIONARY)
    try:
        document = unpacker.decompress(memoryview(raw)[1:], MAX_DOCUMENT_BYTES + 1)
    except zlib.error as error:
        raise ValueError(f"damaged: {error}") from None
    if len(document) > MAX_DOCUMENT_BYTES:
        raise ValueError(f"unpacks to more than {MAX_DOCUMENT_BYTES} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise ValueError("damaged: cut off, or followed by something else")
    return document
