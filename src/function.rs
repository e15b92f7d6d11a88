//! Functions of up to eight parameters, as handlers and middlewares are.
//!
//! The traits for these have one implementation each, and it has every condition as a bound of its own. That is how
//! the compiler reports the one that is not met: of several implementations, it would only say that none fits.

use crate::extract::{Context, Extract, ExtractError};

/// A function of the parameters in the tuple `P`, whose result borrows nothing from the function.
///
/// The name is what the compiler shows for an `async` closure that captures something: its future borrows the captures.
pub trait NonBorrowingFn<P>: Send + Sync + 'static {
    /// The return value: a future, if the function is `async`.
    type Output;

    /// Calls the function.
    fn call(&self, parameters: P) -> Self::Output;
}

/// A tuple of parameters that can be extracted.
pub trait Parameters<S>: Sized {
    /// Extracts each parameter, in order, and calls the function.
    fn apply<F: NonBorrowingFn<Self>>(
        function: &F,
        context: &Context<'_, S>,
    ) -> Result<F::Output, ExtractError>;
}

/// Stops the compiler if more than one parameter is the data.
const fn check(are_data: &[bool]) {
    let (mut count, mut at) = (0, 0);
    while at < are_data.len() {
        count += are_data[at] as usize;
        at += 1;
    }
    assert!(
        count < 2,
        "a handler has two parameters of the arguments of its event, which would both get the first one: take all of them \
         as one tuple, `Data((a, b)): Data<(A, B)>`"
    );
}

macro_rules! implement {
    ($($parameter:ident $variable:ident),*) => {
        impl<F, Output, $($parameter),*> NonBorrowingFn<($($parameter,)*)> for F
        where
            F: Fn($($parameter),*) -> Output + Send + Sync + 'static,
        {
            type Output = Output;

            #[inline]
            fn call(&self, ($($variable,)*): ($($parameter,)*)) -> Output {
                self($($variable),*)
            }
        }

        impl<S, $($parameter: Extract<S>),*> Parameters<S> for ($($parameter,)*) {
            // Not as two functions, because each move of the parameters takes time: `benches/count ack16`.
            #[inline]
            fn apply<F: NonBorrowingFn<Self>>(
                function: &F,
                context: &Context<'_, S>,
            ) -> Result<F::Output, ExtractError> {
                const { check(&[$($parameter::IS_DATA),*]) }
                $(let $variable = $parameter::extract(context)?;)*
                // The return value acknowledges the event, so no other handler does.
                context.ack.set(None);
                Ok(function.call(($($variable,)*)))
            }
        }
    };
}

implement!();
implement!(A a);
implement!(A a, B b);
implement!(A a, B b, C c);
implement!(A a, B b, C c, D d);
implement!(A a, B b, C c, D d, E e);
implement!(A a, B b, C c, D d, E e, G g);
implement!(A a, B b, C c, D d, E e, G g, H h);
implement!(A a, B b, C c, D d, E e, G g, H h, I i);
