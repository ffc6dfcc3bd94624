//! `container`: the container that the process runs in.

use super::image::Image;
use super::{Field, Value, labels};
use crate::container::Volume;
use crate::event::SyscallEvent;

/// The fields.
pub(super) static FIELDS: [Field; 23] = [
    Field::text(
        "container.id",
        "the container's id, its first 12 characters",
        |event, _, give| give(event.container.short_id().into()),
    ),
    Field::text(
        "container.full_id",
        "the container's full id",
        |event, _, give| give(event.container.id.as_str().into()),
    ),
    Field::text(
        "container.name",
        "the container's name in its pod, or the runtime's name for it",
        |event, _, give| {
            if let Some(name) = &event.container.name {
                give(name.as_str().into());
            }
        },
    ),
    Field::text(
        "container.image",
        "the image as the runtime names it: docker.io/library/nginx:1.25",
        |event, _, give| {
            if let Some(image) = &event.container.image {
                give(image.as_str().into());
            }
        },
    ),
    Field::text(
        "container.image.repository",
        "the image's registry and path: docker.io/library/nginx",
        |event, _, give| {
            if let Some(repository) = image(event).repository {
                give(repository.into());
            }
        },
    ),
    Field::text(
        "container.image.tag",
        "the image's tag",
        |event, _, give| {
            if let Some(tag) = image(event).tag {
                give(tag.into());
            }
        },
    ),
    Field::text(
        "container.image.digest",
        "the image's digest, with its algorithm",
        |event, _, give| {
            let container = &event.container;
            let digest = image(event).digest;
            if let Some(digest) = digest.or(container.image_digest.as_deref()) {
                give(digest.into());
            }
        },
    ),
    Field::text(
        "container.image.id",
        "the image's id: the digest of its configuration, with its algorithm",
        |event, _, give| {
            if let Some(id) = &event.container.image_id {
                give(id.as_str().into());
            }
        },
    ),
    Field::text(
        "container.type",
        "what runs the container: containerd, cri-o, docker or podman",
        |event, _, give| {
            if let Some(runtime) = event.container.runtime {
                give(runtime.name().into());
            }
        },
    ),
    Field::int(
        "container.start_ts",
        "when the container started, in nanoseconds since the epoch",
        |event, _, give| {
            if let Some(start_ns) = event.container.start_ns {
                give(start_ns.into());
            }
        },
    ),
    Field::text(
        "container.labels",
        "the container's own labels, as the runtime has them: key:value, key:value",
        |event, _, give| labels::all(event.container.labels.as_ref(), give),
    ),
    Field::text(
        "container.label",
        "one of the container's own labels",
        |event, argument, give| labels::one(event.container.labels.as_ref(), argument, give),
    )
    .keyed(),
    Field::text(
        "container.metadata.missing",
        "why there is no more known of the container: no bundle, bundle unreadable, no runtime to \
         ask, no answer from runtime yet, runtime is down, runtime does not answer, runtime gave \
         no usable answer, unknown to runtime, no Kubernetes labels",
        |event, _, give| {
            let gaps = event.container.gaps.iter();
            gaps.for_each(|gap| give(gap.describe().into()));
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.image.names",
        "every way of naming the image: nginx, library/nginx and docker.io/library/nginx, each \
         bare, with :tag and with @digest",
        |event, _, give| {
            image(event).for_each_name(|name| give(Value::Text(name)));
        },
    )
    .list()
    .ours(),
    Field::bool(
        "container.privileged",
        "whether the container runs privileged",
        |event, _, give| {
            if let Some(privileged) = event.container.privileged {
                give(privileged.into());
            }
        },
    ),
    Field::bool(
        "container.host_pid",
        "whether the container shares the host's pid namespace",
        |event, _, give| {
            if let Some(host_pid) = event.container.host_pid {
                give(host_pid.into());
            }
        },
    ),
    Field::bool(
        "container.host_ipc",
        "whether the container shares the host's ipc namespace",
        |event, _, give| {
            if let Some(host_ipc) = event.container.host_ipc {
                give(host_ipc.into());
            }
        },
    ),
    Field::bool(
        "container.host_network",
        "whether the container shares the host's network namespace",
        |event, _, give| {
            if let Some(host_network) = event.container.host_network {
                give(host_network.into());
            }
        },
    ),
    Field::bool(
        "container.root_read_only",
        "whether the container's root file system is mounted read-only",
        |event, _, give| {
            if let Some(read_only) = event.container.root_read_only {
                give(read_only.into());
            }
        },
    )
    .ours(),
    Field::text(
        "container.volumes.type",
        "the types of the mounted volumes, in the words of spec.volumes of a PodSecurityPolicy, \
         each once",
        |event, _, give| {
            let volumes = volumes(event);
            for (i, volume) in volumes.iter().enumerate() {
                let volume_type = volume.volume_type.as_str();
                if volumes[..i].iter().all(|v| v.volume_type != volume_type) {
                    give(volume_type.into());
                }
            }
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.volumes.host_path",
        "the paths on the host of the mounted hostPath volumes",
        |event, _, give| {
            let volumes = host_path_volumes(event);
            volumes.for_each(|volume| give(volume.host_path.as_str().into()));
        },
    )
    .list()
    .ours(),
    Field::text(
        "container.volumes.host_path.writable",
        "the paths on the host of the hostPath volumes that are mounted writable",
        |event, _, give| {
            host_path_volumes(event)
                .filter(|volume| !volume.read_only)
                .for_each(|volume| give(volume.host_path.as_str().into()));
        },
    )
    .list()
    .ours(),
    Field::int(
        "container.volumes.fs_group",
        "the groups that own the mounted volumes where the kubelet has applied a pod's fsGroup",
        |event, _, give| {
            let groups = volumes(event).iter().filter_map(|volume| volume.fs_group);
            groups.for_each(|group| give(group.into()));
        },
    )
    .list()
    .ours(),
];

fn image(event: &SyscallEvent) -> Image<'_> {
    event
        .container
        .image
        .as_deref()
        .map(Image::parse)
        .unwrap_or_default()
}

fn volumes(event: &SyscallEvent) -> &[Volume] {
    event.container.volumes.as_deref().unwrap_or_default()
}

fn host_path_volumes(event: &SyscallEvent) -> impl Iterator<Item = &Volume> {
    let volumes = volumes(event).iter();
    volumes.filter(|volume| volume.volume_type == "hostPath")
}
