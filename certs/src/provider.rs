//! The one crypto provider, and what it is used for.

use std::sync::{Arc, LazyLock};

use rustls::crypto::{CryptoProvider, GetRandomFailed, SupportedKxGroup, aws_lc_rs};

/// The hybrid post-quantum exchange first; X25519 for peers that lack it.
static KX_GROUPS: [&dyn SupportedKxGroup; 2] =
    [aws_lc_rs::kx_group::X25519MLKEM768, aws_lc_rs::kx_group::X25519];

static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| with_groups(KX_GROUPS.to_vec()));

/// The provider of every TLS configuration in the cluster.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    PROVIDER.clone()
}

/// The same provider with other key exchange groups.
pub(crate) fn with_groups(kx_groups: Vec<&'static dyn SupportedKxGroup>) -> Arc<CryptoProvider> {
    Arc::new(CryptoProvider { kx_groups, ..aws_lc_rs::default_provider() })
}

/// Random bytes from the provider.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], GetRandomFailed> {
    let mut bytes = [0; N];
    PROVIDER.secure_random.fill(&mut bytes)?;
    Ok(bytes)
}
