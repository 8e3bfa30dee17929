//! The processors that a component can be compiled for.

use wasmtime::Config;

use crate::runtime::RuntimeError;

/// A kind of processor, with Linux.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The processor of this machine, with all that it can do: the code may fit no other.
    Host,
    /// Any x86-64 with AVX2, and so with what came before AVX2. That is what AWS documents of Lambda's
    /// ("Using AVX2 vectorization in Lambda"). The rest of x86-64-v3 (FMA, BMI, LZCNT) is likely there and not
    /// documented, so it is not used.
    X86_64,
    /// Any 64-bit ARM, without extensions: AWS names Graviton2 (Armv8.2), but what it has beyond the base (atomics in one
    /// instruction, above all) a component of one thread has no use for. Needs the cargo feature `compiler-arm64`.
    Arm64,
}

/// Cranelift's names of AVX2, and of all that any processor with AVX2 has.
const AVX2_AND_BEFORE: [&str; 7] =
    ["has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt", "has_avx", "has_avx2"];

impl Target {
    /// Makes `config` compile for this target.
    pub(crate) fn apply(self, config: &mut Config) -> Result<(), RuntimeError> {
        let unknown = |error: wasmtime::Error| RuntimeError::Engine(format!("{error:#}"));
        match self {
            // Without a target, the compiler finds out what this processor can do.
            Self::Host => {}
            Self::X86_64 => {
                config.target("x86_64-unknown-linux-gnu").map_err(unknown)?;
                for flag in AVX2_AND_BEFORE {
                    // SAFETY: each is an extension of the instruction set, nothing that changes what code means. Where
                    // the processor lacks one, loading is refused: the artefact tells which it was made for.
                    unsafe { config.cranelift_flag_enable(flag) };
                }
            }
            Self::Arm64 if cfg!(feature = "compiler-arm64") || cfg!(target_arch = "aarch64") => {
                config.target("aarch64-unknown-linux-gnu").map_err(unknown)?;
            }
            Self::Arm64 => {
                let reason = "this build has no compiler for arm64: build it with the cargo feature compiler-arm64";
                return Err(RuntimeError::Engine(reason.to_owned()));
            }
        }
        Ok(())
    }
}
