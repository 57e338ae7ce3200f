/**
 * The part of the seed by which a guest with cloud-init learns of changed keys and passwords. cloud-init takes keys and passwords of
 * the meta-data once per instance id, and a new instance id would run the owner's user data again and give the guest new host
 * keys. Vendor data has what is needed beside it: `#cloud-config` for the first boot, and a boot hook, which runs at every one.
 *
 * The hook runs before cloud-init makes its users, so at the first boot it finds none: it notes which keys cloud-init itself is about
 * to put there, and from then on adds what is wanted and takes away what it knows to have come from here. Keys that
 * somebody added inside the guest are nobody's business. A password is set only when its number is new: one that was changed inside
 * stays.
 */
import type { Login } from "../api/agent.ts";

const boundary = "vstation-vendor-data";

/** A MIME document; the same content makes the same bytes. */
export function vendorData(publicKeys: readonly string[], login: Login | null): string {
  const parts = [
    part("text/cloud-boothook", bootHook({ keys: publicKeys.map((key) => key.trim()), login })),
    ...(login === null ? [] : [part("text/cloud-config", firstBoot(login))]),
  ];
  return [
    `Content-Type: multipart/mixed; boundary="${boundary}"`,
    "MIME-Version: 1.0",
    "",
    ...parts,
    `--${boundary}--`,
    "",
  ].join("\n");
}

function part(type: string, content: string): string {
  return [`--${boundary}`, `Content-Type: ${type}; charset="utf-8"`, "MIME-Version: 1.0", "", content].join("\n");
}

/** JSON, which YAML includes. `list` is the older form of `users`, which releases from before 22.3 know only. */
function firstBoot({ user, passwordHash }: Login): string {
  const who = user === null ? { password: passwordHash } : {};
  const list = user === null ? {} : { list: [`${user}:${passwordHash}`] };
  return `#cloud-config\n${JSON.stringify({ ssh_pwauth: true, ...who, chpasswd: { expire: false, ...list } })}\n`;
}

/** Base64 keeps whatever a key's comment holds out of the shell and of Python. */
function bootHook(wanted: { keys: readonly string[]; login: Login | null }): string {
  const data = Buffer.from(JSON.stringify(wanted)).toString("base64");
  return `#cloud-boothook
#!/bin/sh
command -v python3 >/dev/null || exit 0
exec python3 - <<'END'
import base64, hashlib, json, os, pwd, subprocess

wanted = json.loads(base64.b64decode("${data}"))
state_file = "/var/lib/cloud/vstation.json"
try:
    with open(state_file) as file:
        state = json.load(file)
except (OSError, ValueError):
    state = {"keys": [], "password": None}


def default_user():
    from cloudinit.stages import Init
    from cloudinit.distros import ug_util

    init = Init([])
    init.read_cfg()
    users, _ = ug_util.normalize_users_groups(init.cfg, init.distro)
    return ug_util.extract_default(users)[0]


def account(name):
    try:
        return pwd.getpwnam(name) if name else None
    except KeyError:
        return None


def put_keys(user):
    folder = os.path.join(user.pw_dir, ".ssh")
    path = os.path.join(folder, "authorized_keys")
    if not os.path.isdir(folder):
        os.makedirs(folder, 0o700)
        os.chown(folder, user.pw_uid, user.pw_gid)
    lines = []
    if os.path.exists(path):
        with open(path) as file:
            lines = file.read().splitlines()
    kept = [line for line in lines if line not in state["keys"] or line in wanted["keys"]]
    kept += [key for key in wanted["keys"] if key not in kept]
    if kept == lines:
        return
    with open(path + ".new", "w") as file:
        os.fchmod(file.fileno(), 0o600)
        file.write("".join(line + "\\n" for line in kept))
    os.chown(path + ".new", user.pw_uid, user.pw_gid)
    os.rename(path + ".new", path)


user = account(default_user())
login = wanted["login"]
digest = login and hashlib.sha256(json.dumps(login, sort_keys=True).encode()).hexdigest()
if user:
    put_keys(user)
    who = account(login["user"]) if login and login["user"] else user
    if login and who and digest != state["password"]:
        line = who.pw_name + ":" + login["passwordHash"] + "\\n"
        subprocess.run(["chpasswd", "-e"], input=line.encode(), check=True)
        drop_in = "/etc/ssh/sshd_config.d"
        if os.path.isdir(drop_in):
            with open(os.path.join(drop_in, "10-vstation.conf"), "w") as file:
                file.write("PasswordAuthentication yes\\n")
with open(state_file + ".new", "w") as file:
    os.fchmod(file.fileno(), 0o600)
    json.dump({"keys": wanted["keys"], "password": digest}, file)
os.rename(state_file + ".new", state_file)
END
`;
}
